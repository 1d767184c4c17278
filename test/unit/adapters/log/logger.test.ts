import { expect } from 'chai';
import { ClientGoneError, RefusedError } from '../../../../src/adapters/http/server/problem.ts';
import { DigestMismatchError, UpstreamUnavailableError } from '../../../../src/domain/errors.ts';
import { Secret } from '../../../../src/domain/credential.ts';
import { createLogger } from '../../../../src/adapters/log/logger.ts';

describe('createLogger', () => {
  let lines: Record<string, unknown>[];
  const logger = () =>
    createLogger('info', { write: (line) => lines.push(JSON.parse(line) as Record<string, unknown>) });
  beforeEach(() => {
    lines = [];
  });

  it('writes JSON lines with level and time as text', () => {
    logger().info({ bytes: 5 }, 'hello');
    expect(lines[0]).to.include({ level: 'info', msg: 'hello', bytes: 5 });
    expect(lines[0]?.['time']).to.match(/^\d{4}-\d\d-\d\dT/);
  });

  it('writes nothing below its level', () => {
    logger().debug('hello');
    expect(lines).to.deep.equal([]);
  });

  it('writes an error with code, message and causes, and a bug with its stack', () => {
    const cause = new Error('blob from registry.example: ECONNRESET', { cause: new Error('deeper') });
    logger().warn({ err: new UpstreamUnavailableError(undefined, { cause }) }, 'request');
    expect(lines[0]?.['err']).to.deep.equal({
      type: 'UpstreamUnavailableError',
      code: 'UPSTREAM_UNAVAILABLE',
      message: 'registry is unavailable',
      causes: ['Error: blob from registry.example: ECONNRESET', 'Error: deeper'],
    });
    logger().warn({ err: new DigestMismatchError('a', 'b') });
    expect(lines[1]?.['err']).to.include({ expected: 'a', found: 'b' });
    logger().info({ err: new RefusedError('PAGE_UNKNOWN', 'page not found') });
    logger().info({ err: new ClientGoneError() });
    for (const line of lines) expect(line['err']).not.to.have.property('stack');
    logger().error({ err: new TypeError('oops') });
    expect(lines.at(-1)?.['err']).to.have.property('stack').that.includes('logger.test');
  });

  it('writes no secret and no property of foreign errors', () => {
    const foreign = Object.assign(new Error('failed'), { options: { headers: { authorization: 'canary' } } });
    logger().error({
      err: foreign,
      secret: new Secret('canary'),
      headers: { x: 'canary' },
      request: { authorization: 'canary' },
    });
    expect(JSON.stringify(lines)).not.to.include('canary');
  });

  it('loses lines while 1 MiB waits for a reader, and reports their number when half of it was read', () => {
    const output = { writableLength: 0, write: (line: string) => lines.push(JSON.parse(line) as (typeof lines)[0]) };
    const bounded = createLogger('info', output);
    const MIB = 1024 * 1024;
    for (const [waiting, msg] of [
      [MIB, 'first'],
      [MIB + 1, 'lost'],
      [MIB / 2 + 1, 'lost, too'],
      [MIB / 2, 'second'],
      [MIB, 'third'],
    ] as const) {
      output.writableLength = waiting;
      bounded.info(msg);
    }
    expect(lines.map(({ msg, lines: lost }) => [msg, lost])).to.deep.equal([
      ['first', undefined],
      ['log was not read, lines are lost', 2],
      ['second', undefined],
      ['third', undefined],
    ]);
  });

  it('writes a thrown value that is not an error', () => {
    logger().error({ err: 'canary' });
    expect(lines[0]?.['err']).to.deep.equal({ type: 'string' });
  });
});
