import { expect } from 'chai';
import { explainSection, parseQuestion } from '../../../../../src/adapters/http/status/explain-section.ts';
import { makePackage } from '../../../../support/image.ts';
import { inspectionOf } from '../../../../support/inspection.ts';

const { digest } = makePackage(1);
const EMPTY = { digest: '', repository: '', path: '' };

describe('the form that explains a request', () => {
  it('sends no request if all fields are empty', () => {
    expect(parseQuestion(EMPTY)).to.deep.equal({ fields: EMPTY, mistakes: {}, request: undefined });
  });

  it('trims blanks around pasted values', () => {
    const { request, mistakes } = parseQuestion({
      digest: ` ${digest}\n`,
      repository: ' registry.example/modules/ ',
      path: '\tingress',
    });
    expect(request).to.deep.equal({ digest, repository: 'registry.example/modules', path: 'ingress' });
    expect(mistakes).to.deep.equal({});
  });

  it('shows all mistakes together, each at its field, and keeps the entered values', () => {
    const question = parseQuestion({ digest: 'latest', repository: 'a b"', path: '../x' });
    expect(question.request).to.equal(undefined);
    expect(question.mistakes).to.deep.equal({
      digest: 'digest must be "sha256:" and 64 lower-case hex digits',
      repository: 'repository must be host[:port][/path]',
      path: 'path must be lower-case name components joined by "/"',
    });
    const markup = String(explainSection(question, undefined, inspectionOf(), new Date()).content);
    for (const [name, value] of [
      ['digest', 'latest'],
      ['repository', 'a b&quot;'],
      ['path', '../x'],
    ] as const) {
      const input = new RegExp(`<input[^>]*id="ask-${name}"[^>]*>`).exec(markup)?.[0] ?? '';
      expect(input).to.include(`value="${value}"`).and.include('aria-invalid="true"');
      expect(input).to.include(`aria-describedby="ask-${name}-hint"`);
    }
    expect(markup).to.include('✗ path must be lower-case name components joined by &quot;/&quot;.');
  });

  it('requires a digest if another field is filled in', () => {
    const { mistakes } = parseQuestion({ ...EMPTY, path: 'ingress' });
    expect(mistakes).to.have.all.keys('digest');
  });
});
