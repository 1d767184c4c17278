import { expect } from 'chai';
import type { Socket } from 'node:net';
import sinon from 'sinon';
import { DirectBody } from '../../../../src/adapters/registry/direct-body.ts';

const KIB = 1024;
const BODY_BYTES = 64 * 1024 * KIB;
const BODIES = 40;

describe('DirectBody', () => {
  it('holds one block when many bodies wait for their readers, and goes on when it is read', async () => {
    const bodies = Array.from({ length: BODIES }, () => {
      const socket = { destroy: sinon.stub(), resume: sinon.stub(), _read: sinon.stub() };
      return { socket, body: new DirectBody(socket as unknown as Socket, new Uint8Array(), BODY_BYTES) };
    });
    const held = bodies.map(({ body }) => landAll(body));
    expect(Math.max(...held)).to.be.at.most(5 * 512 * KIB);
    expect(Math.min(...held)).to.equal(512 * KIB);
    expect(held.reduce((sum, bytes) => sum + bytes)).to.be.at.most((BODIES + 16) * 512 * KIB);
    const [last] = bodies.slice(-1);
    if (last === undefined) throw new Error('no body');
    const chunks = last.body[Symbol.asyncIterator]();
    expect((await chunks.next()).value).to.have.lengthOf(512 * KIB);
    sinon.assert.notCalled(last.socket.resume);
    const next = chunks.next();
    sinon.assert.calledOnce(last.socket.resume);
    landAll(last.body);
    expect((await next).value).to.have.lengthOf(512 * KIB);
    for (const { body } of bodies) body.destroy();
  });
});

/** Bytes that land until no more should be read. */
function landAll(body: DirectBody): number {
  let landed = 0;
  for (;;) {
    const space = body.space();
    if (space === undefined) return landed;
    landed += space.byteLength;
    if (!body.land(space.byteLength)) return landed;
  }
}
