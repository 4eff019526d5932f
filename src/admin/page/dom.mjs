// Elements, made without markup: texts of traces can never become tags.

const SVG = 'http://www.w3.org/2000/svg';

// el('p', {class: 'quiet', onclick: …}, 'text', child, …)
export function el(tag, attributes = {}, ...children) {
  return fill(document.createElement(tag), attributes, children);
}

// The same for SVG.
export function svg(tag, attributes = {}, ...children) {
  return fill(document.createElementNS(SVG, tag), attributes, children);
}

function fill(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value === undefined || value === null || value === false) continue;
    if (typeof value === 'function') element[name] = value;
    else if (name.startsWith('--')) element.style.setProperty(name, value);
    else element.setAttribute(name, value === true ? '' : value);
  }
  element.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

// Sets a text only where it differs, so that selections and screen readers are left alone.
export function say(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

// Each service keeps its hue for as long as the page is open, on both sides.
const hues = new Map();

export function learnServices(names) {
  for (const name of names) if (!hues.has(name)) hues.set(name, hues.size);
}

// The hue of a service; red is left to errors.
export function hue(service) {
  learnServices([service]);
  return (55 + ((hues.get(service) * 137.508) % 310)).toFixed(1);
}
