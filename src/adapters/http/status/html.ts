/** Markup from templates that escape their values: text becomes part of a page only as text. */
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';

const ENTITIES: Readonly<Record<string, string>> = {
  '&': '&amp;',
  '<': '&lt;',
  '>': '&gt;',
  '"': '&quot;',
  "'": '&#39;',
};

/**
 * Only `html` and the files of this service make it: because of the private field no other object with a `toString` passes
 * as markup.
 */
export class Html {
  readonly #markup: string;

  private constructor(markup: string) {
    this.#markup = markup;
  }

  /** Joins the text of the template and the values, which are escaped unless they are markup. */
  static ofTemplate(strings: TemplateStringsArray, values: readonly HtmlValue[]): Html {
    return new Html(String.raw({ raw: strings }, ...values.map((value) => Html.#markupOf(value))));
  }

  /**
   * Returns a file of this service as an element of the page, and its source in a Content-Security-Policy, so that no other
   * script or style applies. These elements have no entities, so the file is not escaped.
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

/** `undefined` renders as an empty text, a list as its members one after the other. */
export type HtmlValue = string | number | Html | undefined | readonly Html[];

/** `<p title="${title}">${text}</p>`: values may be text and quoted attributes, but not tags, names, scripts or styles. */
export function html(strings: TemplateStringsArray, ...values: readonly HtmlValue[]): Html {
  return Html.ofTemplate(strings, values);
}
