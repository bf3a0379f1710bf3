// Gradio shows its Record button before the recorder behind it has arrived, which takes seconds on a slow line. A click
// meanwhile seems to record, and nothing is heard: the recorder that is not there throws, and nobody catches it. Here
// such a recording is ended and begun again, until the recorder is there or the visitor has gone to another tab.
(() => {
  const RETRY_MS = 500;
  const button = (name) => document.querySelector(`#microphone ${name}`);

  window.addEventListener("unhandledrejection", (event) => {
    const stop = button(".stop-button");
    if (event.reason instanceof TypeError && stop) {
      event.preventDefault();
      stop.click();
      setTimeout(() => button(".record-button")?.click(), RETRY_MS);
    }
  });
})();
