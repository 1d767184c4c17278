import { expect } from 'chai';
import { mock } from 'node:test';
import { pino } from 'pino';
import { refusalLog } from '../../../../src/adapters/log/loopback-log.ts';

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

interface Line {
  readonly refused: unknown;
}
