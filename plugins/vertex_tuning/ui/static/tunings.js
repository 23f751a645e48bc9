// Shows the page in Airflow's UI. Airflow loads this module and gives it its own React: there is nothing to build.
//
// The page itself has no script. This module only keeps the address bar and the colours in step with it.

const APP = "vertex-tuning/";
const VIEW = "plugin/tunings";

const baseUrl = () => new URL(document.baseURI);

/** The address of the page inside the frame for the address of the browser, so that a reload shows the same page. */
function frameUrl() {
  const view = new URL(VIEW, baseUrl()).pathname;
  const rest = location.pathname.startsWith(`${view}/`) ? location.pathname.slice(view.length + 1) : "";
  const wanted = new URL(rest + location.search, new URL(APP, baseUrl()));
  return isPage(wanted) ? wanted.href : new URL(APP, baseUrl()).href;
}

/** Whether an address is one of this page's own. */
function isPage(url) {
  return url.origin === location.origin && url.pathname.startsWith(new URL(APP, baseUrl()).pathname);
}

function showAddress(frame) {
  const url = new URL(frame.contentWindow.location.href);
  if (url.protocol === "about:") return;
  if (!isPage(url)) {
    location.assign(url.href); // e.g. the sign-in page: it belongs into the whole window
    return;
  }
  const rest = url.pathname.slice(new URL(APP, baseUrl()).pathname.length);
  const view = new URL(rest ? `${VIEW}/${rest}` : VIEW, baseUrl());
  view.search = url.search;
  history.replaceState(history.state, "", view.href);
}

function showColours(frame) {
  const scheme = getComputedStyle(document.documentElement).colorScheme.includes("dark") ? "dark" : "light";
  frame.style.colorScheme = scheme;
  const root = frame.contentDocument?.documentElement;
  if (root) root.dataset.theme = scheme;
}

function Tunings() {
  const { createElement, useEffect, useRef, useState } = globalThis.React;
  const frame = useRef(null);
  const [src] = useState(frameUrl);
  useEffect(() => {
    const element = frame.current;
    const colours = () => showColours(element);
    const loaded = () => {
      colours();
      showAddress(element);
    };
    const observer = new MutationObserver(colours);
    observer.observe(document.documentElement, { attributeFilter: ["class", "style", "data-theme"] });
    element.addEventListener("load", loaded);
    colours();
    return () => {
      observer.disconnect();
      element.removeEventListener("load", loaded);
    };
  }, []);
  const style = { border: "none", display: "block", height: "100%", width: "100%" };
  return createElement("iframe", { ref: frame, src, style, title: "Tunings" });
}

globalThis.AirflowPlugin = Tunings;
