/* A cloud to turn with the mouse. Needs nothing but a canvas; reads its data from the page. */
(function () {
  "use strict";
  var holder = document.getElementById("viewer");
  var clouds = JSON.parse(document.getElementById("viewer-data").textContent);
  var canvas = holder.querySelector("canvas");
  var context = canvas.getContext("2d");
  var chooser = holder.querySelector(".clouds");
  var list = holder.querySelector(".effects");
  var heading = holder.querySelector(".what");
  var ABSENT = [214, 218, 223], FOR = [0, 96, 160], AGAINST = [184, 74, 0];
  var current = 0, chosen = -1, turn = -1.05, tilt = 0.32, dragging = null;
  var still = window.matchMedia && window.matchMedia("(prefers-reduced-motion: reduce)").matches;
  var spinning = !still;

  function mix(color, share) {
    return [0, 1, 2].map(function (i) {
      return Math.round(ABSENT[i] + (color[i] - ABSENT[i]) * share);
    });
  }

  /* One color per region: its palette color in a group that is shown, or what it adds up to. */
  function regionColors(cloud) {
    return cloud.palette.map(function (color, region) {
      if (chosen >= 0) {
        return cloud.effects[chosen].members.indexOf(region) >= 0 ? color : ABSENT;
      }
      var share = cloud.shares[region];
      return mix(share >= 0 ? FOR : AGAINST, Math.abs(share));
    });
  }

  function draw() {
    var cloud = clouds[current], points = cloud.points, n = points.length / 3;
    var size = canvas.width, scale = size * 0.43 / 1000;
    var ct = Math.cos(turn), st = Math.sin(turn), ce = Math.cos(tilt), se = Math.sin(tilt);
    var seen = new Array(n), i;
    for (i = 0; i < n; i++) {
      var x = points[3 * i], y = points[3 * i + 1], z = points[3 * i + 2];
      var toward = x * ct + y * st, right = -x * st + y * ct;
      seen[i] = [toward * ce + z * se, size / 2 + right * scale,
                 size / 2 - (z * ce - toward * se) * scale, cloud.regions[i]];
    }
    seen.sort(function (a, b) { return a[0] - b[0]; });
    var colors = regionColors(cloud);
    context.clearRect(0, 0, size, size);
    for (i = 0; i < n; i++) {
      var near = Math.max(0, Math.min(1, (seen[i][0] + 1000) / 2000));
      var pale = 0.45 * (1 - near), color = colors[seen[i][3]];
      context.fillStyle = "rgb(" + color.map(function (v) {
        return Math.round(v + (255 - v) * pale);
      }).join(",") + ")";
      context.beginPath();
      context.arc(seen[i][1], seen[i][2], size * (0.0045 + 0.003 * near), 0, 6.2832);
      context.fill();
    }
  }

  function button(parent, text, pressed, action, kind) {
    var made = document.createElement("button");
    made.type = "button";
    made.setAttribute("aria-pressed", String(pressed));
    made.textContent = text[0];
    if (text[1]) {
      var number = document.createElement("span");
      number.className = kind;
      number.textContent = " " + text[1];
      made.appendChild(number);
    }
    made.addEventListener("click", action);
    parent.appendChild(made);
  }

  function show() {
    var cloud = clouds[current];
    chooser.textContent = "";
    clouds.forEach(function (one, number) {
      button(chooser, [one.name], number === current, function () {
        current = number; chosen = -1; show();
      });
    });
    heading.textContent = cloud.heading;
    list.textContent = "";
    button(list, ["each region by what it adds up to"], chosen < 0, function () {
      chosen = -1; show();
    });
    cloud.effects.forEach(function (effect, number) {
      button(list, [effect.who, effect.text], chosen === number, function () {
        chosen = number; show();
      }, effect.positive ? "for" : "against");
    });
    draw();
  }

  canvas.addEventListener("pointerdown", function (event) {
    dragging = [event.clientX, event.clientY];
    spinning = false;
    canvas.setPointerCapture(event.pointerId);
  });
  canvas.addEventListener("pointermove", function (event) {
    if (!dragging) { return; }
    turn -= (event.clientX - dragging[0]) * 0.01;
    tilt = Math.max(-1.5, Math.min(1.5, tilt + (event.clientY - dragging[1]) * 0.01));
    dragging = [event.clientX, event.clientY];
    draw();
  });
  ["pointerup", "pointercancel"].forEach(function (name) {
    canvas.addEventListener(name, function () { dragging = null; });
  });
  function spin() {
    if (spinning) { turn += 0.006; draw(); window.requestAnimationFrame(spin); }
  }
  show();
  spin();
}());
