// Gradio shows its Record button before the recorder behind it has arrived, which takes seconds on a slow line. A click
// meanwhile seems to record, and nothing is recorded: the constructor that is not there throws, and nobody catches it. Here
// such a recording is ended and started again, until the recorder is there or the visitor has gone to another tab.
(() => {
  const RETRY_MS = 500;
  let left = 60; // tries: where it never arrives, the page no longer says that it records

  const shown = (name) => {
    const button = document.querySelector(`#microphone ${name}`);
    return button?.offsetParent ? button : null;
  };
  window.addEventListener("unhandledrejection", (event) => {
    const stop = shown(".stop-button");
    if (event.reason instanceof TypeError && /not a constructor/.test(event.reason.message) && stop) {
      event.preventDefault();
      stop.click();
      if (left-- > 0) {
        setTimeout(() => shown(".record-button")?.click(), RETRY_MS);
      }
    }
  });
})();
