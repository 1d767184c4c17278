import { expect } from 'chai';
import { mock } from 'node:test';
import { pino } from 'pino';
import { refusalLog, sourceLog, watchLog } from '../../../../src/adapters/log/event-log.ts';

describe('refusalLog', () => {
  it('logs the first refusal at once, and those of each minute in one line', () => {
    mock.timers.enable({ apis: ['setTimeout'] });
    try {
      const lines: unknown[] = [];
      const log = refusalLog(
        pino({ base: null, timestamp: false }, { write: (line) => lines.push((JSON.parse(line) as Line).refused) }),
      );
      log('handshake');
      for (let i = 0; i < 1000; i++) log('anonymous');
      log('certificate');
      expect(lines).to.deep.equal([{ handshake: 1 }]);
      mock.timers.tick(60_000);
      expect(lines.slice(1)).to.deep.equal([{ anonymous: 1000, certificate: 1 }]);
      mock.timers.tick(60_000);
      log('handshake');
      expect(lines.slice(2)).to.deep.equal([{ handshake: 1 }]);
    } finally {
      mock.timers.reset();
    }
  });
});

describe('sourceLog', () => {
  it('logs the failures of each source once a minute', () => {
    const hosts: unknown[] = [];
    const log = sourceLog(pino({}, { write: (line) => hosts.push((JSON.parse(line) as Line).host) }));
    for (const name of ['a.example', 'a.example', 'b.example', 'a.example']) {
      log({ source: { kind: 'mirror', name }, reason: 'failed', digest: 'sha256:0', error: new Error('reset') });
    }
    expect(hosts).to.deep.equal(['a.example', 'b.example']);
  });
});

describe('watchLog', () => {
  it('logs the first failure after a success at once', () => {
    const messages: unknown[] = [];
    const log = watchLog(pino({}, { write: (line) => messages.push((JSON.parse(line) as Line).msg) }));
    const failed = { resource: 'secrets', kind: 'failed', during: 'watch', error: new Error('reset') } as const;
    log(failed);
    log(failed);
    log({ resource: 'secrets', kind: 'listed', objects: 1 });
    log(failed);
    expect(messages).to.deep.equal(Array(2).fill('watching failed, trying again'));
  });
});

interface Line {
  readonly refused?: unknown;
  readonly host?: unknown;
  readonly msg?: unknown;
}
