/** Markup out of templates that escape: a text becomes a part of a page as text, and there is no other way in. */
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';

const ENTITIES: Readonly<Record<string, string>> = {
  '&': '&amp;',
  '<': '&lt;',
  '>': '&gt;',
  '"': '&quot;',
  "'": '&#39;',
};

/** Made by `html` and out of our own files only: because of the private field no other object with a `toString` passes for it. */
export class Html {
  readonly #markup: string;

  private constructor(markup: string) {
    this.#markup = markup;
  }

  /** Joins the template's own text and the values, each of which is escaped unless it is markup. */
  static ofTemplate(strings: TemplateStringsArray, values: readonly HtmlValue[]): Html {
    return new Html(String.raw({ raw: strings }, ...values.map((value) => Html.#markupOf(value))));
  }

  /**
   * A file of ours in the page itself, and what a Content-Security-Policy calls it: nothing else can run, or colour, then.
   * There entities mean nothing, so nothing is escaped.
   */
  static ofFile(element: 'style' | 'script', file: URL): { readonly markup: Html; readonly source: string } {
    const text = readFileSync(file, 'utf8');
    if (text.includes('</')) throw new Error(`${file.pathname} would end its own element`);
    const source = `'sha256-${createHash('sha256').update(text).digest('base64')}'`;
    return { markup: new Html(`<${element}>${text}</${element}>`), source };
  }

  toString(): string {
    return this.#markup;
  }

  static #markupOf(value: HtmlValue): string {
    if (typeof value !== 'object') return String(value ?? '').replace(/[&<>"']/g, (found) => ENTITIES[found] ?? '');
    return #markup in value ? value.#markup : value.map((member) => Html.#markupOf(member)).join('');
  }
}

/** Nothing at all of `undefined`; a list is its members, one after the other. */
export type HtmlValue = string | number | Html | undefined | readonly Html[];

/**
 * `<p title="${title}">${text}</p>`: values may stand for text and for attributes in quotation marks, but for no tag, no
 * name, no script and no style.
 */
export function html(strings: TemplateStringsArray, ...values: readonly HtmlValue[]): Html {
  return Html.ofTemplate(strings, values);
}
