import { expect } from 'chai';
import { RequestTrace } from '../../../../../src/adapters/http/server/trace-context.ts';

const TRACE = '4bf92f3577b34da6a3ce929d0e0e4736';
const PARENT = '00f067aa0ba902b7';
const VALID = `00-${TRACE}-${PARENT}-01`;

describe('RequestTrace', () => {
  it('continues the trace of the client with its own span id', () => {
    const trace = new RequestTrace(VALID, '');
    expect(trace.traceId).to.equal(TRACE);
    const told = trace.headers();
    expect(told).to.deep.equal({ traceparent: `00-${TRACE}-${String(trace.spanId)}-01` });
    expect(trace.spanId).to.match(/^[0-9a-f]{16}$/);
    expect(trace.spanId).not.to.equal(PARENT);
    expect(trace.headers()).to.deep.equal(told);
  });

  it('creates its ids only when a registry gets them', () => {
    const [known, unknown] = [new RequestTrace(VALID, ''), new RequestTrace('', '')];
    expect([known.traceId, known.spanId]).to.deep.equal([TRACE, undefined]);
    expect([unknown.traceId, unknown.spanId]).to.deep.equal([undefined, undefined]);
    expect(unknown.headers()).to.deep.equal({
      traceparent: `00-${String(unknown.traceId)}-${String(unknown.spanId)}-00`,
    });
  });

  it('reads the known part of later versions, keeps the known flags, and sends version 00', () => {
    for (const [traceparent, flags] of [
      [`01-${TRACE}-${PARENT}-01`, '01'],
      [`cc-${TRACE}-${PARENT}-00-what-the-future-brings`, '00'],
      [`fe-${TRACE}-${PARENT}-ff-`, '03'],
      [`00-${TRACE}-${PARENT}-fe`, '02'],
    ] as const) {
      const trace = new RequestTrace(traceparent, '');
      const told = trace.headers()['traceparent'];
      expect(told, traceparent).to.equal(`00-${TRACE}-${String(trace.spanId)}-${flags}`);
    }
  });

  for (const [what, traceparent] of [
    ['nothing', ''],
    ['a trace of zeros', `00-${'0'.repeat(32)}-${PARENT}-01`],
    ['a parent of zeros', `00-${TRACE}-${'0'.repeat(16)}-01`],
    ['the version that is none', `ff-${TRACE}-${PARENT}-01`],
    ['capitals', `00-${TRACE.toUpperCase()}-${PARENT}-01`],
    ['more than version 00 has', `${VALID}-what`],
    ['a later version that goes on without a dash', `01-${TRACE}-${PARENT}-01what`],
    ['too little', `00-${TRACE}-${PARENT}-1`],
    ['other than hex digits', `00-${'g'.repeat(32)}-${PARENT}-01`],
    ['a blank', ` ${VALID}`],
    ['a line feed', `${VALID}\n`],
    // So Node joins two headers of one name.
    ['two of them', `${VALID}, ${VALID}`],
  ] as const) {
    it(`begins a new trace for ${what}, without the state of another`, () => {
      const trace = new RequestTrace(traceparent, 'vendor=1');
      expect(trace.traceId).to.equal(undefined);
      const told = trace.headers();
      expect(told).to.have.all.keys('traceparent');
      expect(told['traceparent']).to.match(/^00-[0-9a-f]{32}-[0-9a-f]{16}-00$/);
      expect(told['traceparent']).not.to.include(TRACE);
    });
  }

  it('gives each request its own ids', () => {
    const told = Array.from({ length: 1000 }, () => new RequestTrace('', '').headers()['traceparent']?.split('-'));
    for (const part of [1, 2]) expect(new Set(told.map((parts) => parts?.[part]))).to.have.property('size', 1000);
  });

  describe('with a tracestate', () => {
    const state = (text: string): string => new RequestTrace(VALID, text).headers()['tracestate'] ?? '';

    it('keeps the entries of tracing systems in their order', () => {
      expect(state('rojo=00f067aa0ba902b7,congo=t61rcWkgMzE')).to.equal('rojo=00f067aa0ba902b7,congo=t61rcWkgMzE');
      expect(state(' fw529a3039@dt=a b ,\t, 1a=!')).to.equal('fw529a3039@dt=a b,1a=!');
    });

    it('drops an invalid tracestate', () => {
      for (const text of ['congo', '=a', 'a=', 'A=b', 'a=b=c', 'a=\u00e9', 'a=b\r\nhost: c', `a=${'b'.repeat(257)}`]) {
        expect(state(`${text},good=1`), text).to.equal('');
      }
      expect(state(Array.from({ length: 33 }, (_, index) => `a${String(index)}=b`).join(','))).to.equal('');
    });

    it('keeps 512 characters: removes the long members first, then the last ones', () => {
      const member = (name: string, length: number): string => `${name}=${'x'.repeat(length - name.length - 1)}`;
      const short = ['a', 'b', 'c', 'd'].map((name) => member(name, 127));
      expect(state(short.join(','))).to.have.lengthOf(511);
      expect(state([member('long', 129), ...short].join(','))).to.equal(short.join(','));
      expect(state([...short, member('e', 100)].join(','))).to.equal(short.join(','));
    });

    it('is read in linear time for any text', () => {
      const started = performance.now();
      for (const text of [
        'a=' + ' '.repeat(16_000),
        `a=${' '.repeat(16_000)}é`,
        ' '.repeat(16_000) + 'a',
        ','.repeat(16_000),
      ])
        state(text);
      expect(performance.now() - started).to.be.lessThan(500);
    });
  });
});
