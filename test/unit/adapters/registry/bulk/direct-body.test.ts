import { expect } from 'chai';
import type { Socket } from 'node:net';
import sinon from 'sinon';
import { DirectBody } from '../../../../../src/adapters/registry/bulk/direct-body.ts';
import { hold } from '../../../../../src/domain/lent-memory.ts';
import { bytesOf } from '../../../../support/image.ts';

const KIB = 1024;
const MIB = 1024 * KIB;

describe('DirectBody', () => {
  const bodies: DirectBody[] = [];
  afterEach(() => {
    for (const body of bodies.splice(0)) body.destroy();
  });

  function open(length: number): DirectBody {
    const socket = { destroy: sinon.stub(), resume: sinon.stub(), _read: sinon.stub() };
    const body = new DirectBody(socket as unknown as Socket, new Uint8Array(), length, sinon.stub());
    bodies.push(body);
    return body;
  }

  /** As a connection would; returns how many bytes the body takes before it asks for a pause. */
  function fill(body: DirectBody, content: Uint8Array, start = 0): number {
    let at = start;
    for (let more = true; more && at < content.byteLength;) {
      const space = body.space() ?? new Uint8Array();
      const piece = content.subarray(at, at + Math.min(space.byteLength, 50_000));
      space.set(piece);
      more = body.land(piece.byteLength);
      at += piece.byteLength;
    }
    return at;
  }

  it('reads 3 MiB ahead of its reader', () => {
    const taken = fill(open(8 * MIB), new Uint8Array(8 * MIB));
    expect(taken).to.be.within(2 * MIB, 3 * MIB);
  });

  it('does not write into a block while it is held', async () => {
    const content = bytesOf(8 * MIB);
    const body = open(content.byteLength);
    let landed = fill(body, content);
    let read = 0;
    let held: { readonly bytes: Uint8Array; readonly letGo: (() => void) | undefined } | undefined;
    const memory = new Set<ArrayBufferLike>();
    for await (const chunk of body) {
      held ??= { bytes: chunk, letGo: hold(chunk) };
      memory.add(chunk.buffer);
      read += chunk.byteLength;
      if (read === landed && landed < content.byteLength) landed = fill(body, content, landed);
    }
    expect(held?.letGo).to.be.a('function');
    expect(Buffer.compare(held?.bytes ?? bytesOf(1), content.subarray(0, held?.bytes.byteLength))).to.equal(0);
    const later = open(8 * MIB);
    for (let blocks = 0; blocks < 3; blocks++) expect(later.space()?.buffer).not.to.equal(held?.bytes.buffer);
    held?.letGo?.();
  });

  it('holds 8 MiB for all bodies together, and at most 128 KiB more for each', () => {
    const content = new Uint8Array(8 * MIB);
    const taken = Array.from({ length: 200 }, () => fill(open(8 * MIB), content));
    expect(taken.reduce((sum, bytes) => sum + bytes)).to.be.at.most(8 * MIB + 200 * 128 * KIB);
    expect(Math.min(...taken)).to.be.at.least(64 * KIB);
  });

  it('uses small blocks while other bodies hold all large ones, and delivers the same bytes', async () => {
    const stalled = Array.from({ length: 10 }, () => open(8 * MIB));
    for (const body of stalled) fill(body, new Uint8Array(8 * MIB));
    const content = bytesOf(3 * MIB + 12_345);
    const body = open(content.byteLength);
    let landed = fill(body, content);
    let read = 0;
    for await (const chunk of body) {
      expect(Buffer.compare(chunk, content.subarray(read, read + chunk.byteLength))).to.equal(0);
      read += chunk.byteLength;
      if (read === landed) landed = fill(body, content, landed);
    }
    expect(read).to.equal(content.byteLength);
  });
});
