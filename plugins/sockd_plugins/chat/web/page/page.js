// Controls of the page: dialog, forms, panels and keys.

import { act } from "./actions.js";
import { Chat } from "./chat.js";
import { kept } from "./rooms.js";
import { $ } from "./view.js";

const chat = new Chat({ askName, closePanels });

function askName(reason = "", code = "") {
  if (code === "login" || code === "denied") $("ask-password").hidden = false;
  $("ask-reason").textContent = reason;
  $("name").value = chat.me || kept.get("name", "");
  if (!$("ask").open) $("ask").showModal();
}

function closePanels() {
  $("side").classList.remove("open");
  $("open-side").setAttribute("aria-expanded", "false");
  if (matchMedia("(max-width: 46rem)").matches) showPanel(false);
}

function showPanel(shown) {
  $("people").hidden = !shown;
  $("open-people").setAttribute("aria-expanded", String(shown));
  chat.showPeople();
}

function listen() {
  $("ask-form").addEventListener("submit", (event) => {
    event.preventDefault();
    $("ask").close();
    chat.start($("name").value.trim(), $("password").value);
  });
  $("ask").addEventListener("cancel", (event) => { if (!chat.line.isOpen) event.preventDefault(); });
  $("join").addEventListener("submit", (event) => {
    event.preventDefault();
    const name = $("join-name").value.trim().replace(/^#/, "");
    if (name) chat.enter(name);
    $("join-name").value = "";
  });
  $("write").addEventListener("submit", (event) => {
    event.preventDefault();
    const text = $("text").value;
    $("text").value = "";
    chat.keepDraft();
    if (chat.current) act(chat, text);
    $("text").focus();
  });
  $("text").addEventListener("keydown", (event) => {
    if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
      event.preventDefault();
      $("write").requestSubmit();
    } else if (event.key === "PageUp" || event.key === "PageDown") {
      event.preventDefault();
      chat.page(event.key === "PageUp" ? -1 : 1);
    }
  });
  $("text").addEventListener("input", () => chat.keepDraft());
  $("search").addEventListener("submit", (event) => { event.preventDefault(); chat.search($("words").value); });
  $("newer").addEventListener("click", () => chat.toEnd());
  $("leave").addEventListener("click", () => { if (chat.current) chat.leaveRoom(chat.current); });
  $("rename").addEventListener("click", () => { $("text").value = "/nick "; $("text").focus(); });
  $("open-people").addEventListener("click", () => showPanel($("people").hidden));
  $("open-side").addEventListener("click", () => {
    const open = $("side").classList.toggle("open");
    $("open-side").setAttribute("aria-expanded", String(open));
    if (open) $("side").querySelector("button, input")?.focus();
  });
  document.addEventListener("keydown", (event) => {
    if (event.altKey && (event.key === "ArrowUp" || event.key === "ArrowDown")) {
      event.preventDefault();
      chat.step(event.key === "ArrowUp" ? -1 : 1);
    } else if (event.key === "Escape" && !$("ask").open) {
      closePanels();
      chat.toEnd();
      $("text").focus();
    }
  });
  document.addEventListener("visibilitychange", () => chat.markRead());
  // A page that is kept for the way back would hold its line for minutes and show nothing.
  addEventListener("pagehide", () => { chat.keepDraft(); chat.line.stop(); });
  addEventListener("pageshow", ({ persisted }) => { if (persisted && chat.me) chat.line.start(); });
  addEventListener("online", () => chat.line.retryNow());
}

listen();
const name = sessionStorage.getItem("chat.key") ? kept.get("name", "") : "";
if (name) chat.start(name);
else askName();
document.documentElement.dataset.ready = "yes";
