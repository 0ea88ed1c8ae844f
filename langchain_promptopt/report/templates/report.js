(function () {
  "use strict";
  var page = document;
  function all(selector, within) { return Array.prototype.slice.call((within || page).querySelectorAll(selector)); }
  function say(text) { page.getElementById("said").textContent = text; }

  all("[data-needs-script]").forEach(function (element) { element.hidden = false; });

  // Examples: a status and a search text narrow the table.
  all("[data-examples]").forEach(function (section) {
    var search = section.querySelector("input[type=search]");
    var rows = all("tbody tr", section);
    var count = section.querySelector("[data-count]");
    function narrow() {
      var chosen = section.querySelector("input[type=radio]:checked").value;
      var words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
      var left = 0;
      rows.forEach(function (row) {
        var text = row.textContent.toLowerCase();
        var fits = (chosen === "all" || row.dataset.status === chosen) && words.every(function (word) { return text.indexOf(word) >= 0; });
        row.hidden = !fits;
        left += fits ? 1 : 0;
      });
      count.textContent = left + " of " + rows.length + " examples";
    }
    section.addEventListener("input", narrow);
    narrow();
  });

  // Edits: a tick box takes one out; prompt and command follow.
  var boxes = all("input[data-edit]");
  var data = page.getElementById("prompt-parts");
  function chosen() { return boxes.filter(function (box) { return box.checked; }).map(function (box) { return Number(box.dataset.edit); }); }
  function rebuild() {
    var kept = chosen();
    all("[data-n]").forEach(function (element) { element.classList.toggle("out", kept.indexOf(Number(element.dataset.n)) < 0); });
    var text = JSON.parse(data.textContent).map(function (message) {
      return message.parts.map(function (part) {
        return typeof part === "string" ? part : (kept.indexOf(part.n) >= 0 ? part.new : part.old);
      }).join("");
    });
    all("[data-message]").forEach(function (element, i) { element.value = text[i]; });
    var command = page.getElementById("apply-command");
    if (!command) { return; }
    var whole = kept.length === boxes.length;
    var force = whole || command.dataset.rest.indexOf("--force") >= 0 ? "" : " --force";  // a part of the edits is untested
    command.textContent = command.dataset.run + (whole ? "" : " --edits " + kept.join(",")) + command.dataset.rest + force;
    command.closest("[data-apply]").hidden = kept.length === 0;
    page.getElementById("apply-none").hidden = kept.length > 0;
    page.getElementById("apply-part").hidden = whole || kept.length === 0;
    page.getElementById("apply-count").textContent = kept.length + " of " + boxes.length + " edits kept";
  }
  boxes.forEach(function (box) { box.addEventListener("change", rebuild); });
  if (boxes.length) { rebuild(); }

  // Copy buttons.
  function copied(text, done) {
    if (navigator.clipboard && window.isSecureContext) { navigator.clipboard.writeText(text).then(done, function () { byHand(text, done); }); }
    else { byHand(text, done); }
  }
  function byHand(text, done) {
    var area = page.createElement("textarea");
    area.value = text;
    page.body.appendChild(area);
    area.select();
    if (page.execCommand("copy")) { done(); }
    area.remove();
  }
  page.addEventListener("click", function (event) {
    var button = event.target.closest("button[data-copy]");
    if (!button) { return; }
    var source = page.getElementById(button.dataset.copy);
    copied(source.value === undefined ? source.textContent : source.value, function () {
      say("Copied");
      button.textContent = "Copied";
      setTimeout(function () { button.textContent = "Copy"; }, 1500);
    });
  });
})();
