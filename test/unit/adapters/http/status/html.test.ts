import { expect } from 'chai';
import fc from 'fast-check';
import { Html, html } from '../../../../../src/adapters/http/status/html.ts';

/** Reads a text of a page as a browser does, for the five characters that matter. */
function unescape(markup: string): string {
  const characters: Record<string, string> = { amp: '&', lt: '<', gt: '>', quot: '"', '#39': "'" };
  return markup.replace(/&(amp|lt|gt|quot|#39);/g, (_, name: string) => characters[name] ?? '');
}

describe('html', () => {
  it('escapes any value in elements and attributes', () => {
    const hostile = `</td><script>alert(1)</script>" onload='x' &amp;`;
    expect(String(html`<td title="${hostile}">${hostile}</td>`)).to.equal(
      '<td title="&lt;/td&gt;&lt;script&gt;alert(1)&lt;/script&gt;&quot; onload=&#39;x&#39; &amp;amp;">' +
        '&lt;/td&gt;&lt;script&gt;alert(1)&lt;/script&gt;&quot; onload=&#39;x&#39; &amp;amp;</td>',
    );
  });

  it('escapes each character that could end a text or an attribute, and loses none', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'binary' }), (text) => {
        const markup = String(html`${text}`);
        expect(markup).not.to.match(/[<>"']|&(?!(amp|lt|gt|quot|#39);)/);
        expect(unescape(markup)).to.equal(text);
      }),
    );
  });

  it('inserts markup unchanged, lists item by item, and nothing for undefined', () => {
    const names = ['a', '<b>'].map((text) => html`<i>${text}</i>`);
    expect(String(html`<b>${names}${undefined}</b>${7}`)).to.equal('<b><i>a</i><i>&lt;b&gt;</i></b>7');
  });

  it('treats only its own results as markup', () => {
    const claims = { toString: () => '<script>' };
    // @ts-expect-error: an object with a toString is no text.
    expect(() => html`${claims}`).to.throw(TypeError);
    const forged = Object.assign(Object.create(Html.prototype) as Html, claims);
    expect(() => html`${forged}`).to.throw(TypeError);
  });
});
