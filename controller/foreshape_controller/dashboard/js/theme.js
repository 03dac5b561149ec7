// Light or dark, before anything is drawn: the system's choice, or what somebody chose here before.
"use strict";
try {
  const chosen = localStorage.getItem("foreshape-theme");
  if (chosen) document.documentElement.dataset.theme = chosen;
} catch {
  // A browser that keeps nothing follows the system.
}
