// Browsers take every .webm for a film, and Gradio's audio field refuses films. Recorders of browsers write .webm without
// a picture, so it is named a sound before the field looks at it: in the file dialog, when chosen, and when dropped.
(() => {
  const films = { "video/webm": "audio/webm" };
  const field = (event) => event.target instanceof Element && event.target.closest("#voice");
  const relabelled = (files) => {
    const transfer = new DataTransfer();
    for (const file of files) {
      transfer.items.add(file.type in films ? new File([file], file.name, { type: films[file.type] }) : file);
    }
    return transfer.files;
  };
  const isFilm = (file) => file.type in films;

  document.addEventListener("click", (event) => {
    if (field(event) && event.target.type === "file" && !event.target.accept.includes("video/webm")) {
      event.target.accept += ",video/webm";
    }
  }, true);
  document.addEventListener("change", (event) => {
    if (field(event) && event.target.type === "file" && [...event.target.files].some(isFilm)) {
      event.target.files = relabelled(event.target.files);
    }
  }, true);
  document.addEventListener("drop", (event) => {
    const input = field(event)?.querySelector("input[type=file]");
    if (input && [...event.dataTransfer.files].some(isFilm)) {
      event.preventDefault();
      event.stopPropagation();
      input.files = relabelled(event.dataTransfer.files);
      input.dispatchEvent(new Event("change", { bubbles: true }));
    }
  }, true);
})();
