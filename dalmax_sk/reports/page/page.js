"use strict";
document.querySelectorAll("table.sortable").forEach(function (table) {
  var body = table.tBodies[0];
  var heads = Array.from(table.tHead.rows[0].cells);
  function key(row, column) {
    var cell = row.cells[column];
    return cell.hasAttribute("data-value")
      ? parseFloat(cell.getAttribute("data-value")) : cell.textContent;
  }
  function compare(a, b) {
    return typeof a === "number" ? a - b : a.localeCompare(b, undefined,
      {numeric: true});
  }
  heads.forEach(function (head, column) {
    var button = document.createElement("button");
    button.type = "button";
    button.title = "sort by this column";
    while (head.firstChild) { button.appendChild(head.firstChild); }
    head.appendChild(button);
    button.addEventListener("click", function () {
      var up = head.getAttribute("aria-sort") !== "ascending";
      heads.forEach(function (other) { other.removeAttribute("aria-sort"); });
      head.setAttribute("aria-sort", up ? "ascending" : "descending");
      Array.from(body.rows).map(function (row) {
        return [key(row, column), row];
      }).sort(function (a, b) {
        var lacks = Number.isNaN(a[0]), other = Number.isNaN(b[0]);
        if (lacks || other) { return lacks - other; }
        return up ? compare(a[0], b[0]) : compare(b[0], a[0]);
      }).forEach(function (pair) { body.appendChild(pair[1]); });
    });
  });
});
