import { expect } from 'chai';
import { ServiceProcess } from '../support/service-process.ts';

const TRACE = '4bf92f3577b34da6a3ce929d0e0e4736';
const TRACEPARENT = `00-${TRACE}-00f067aa0ba902b7-01`;

describe('the trace of a request', () => {
  let service: ServiceProcess;
  afterEach(() => service.close());

  it('is logged: the one that it came with, or a new one', async () => {
    service = await ServiceProcess.start();
    const ask = async (id: string, headers: Record<string, string>): Promise<Record<string, unknown>> => {
      await service.client('package?digest=none', { headers: { ...headers, 'x-request-id': id } });
      return service.logged('request', { request_id: id });
    };
    const known = await ask('known', { traceparent: TRACEPARENT });
    expect(known).to.include({ trace_id: TRACE });
    expect(known['span_id'])
      .to.match(/^[0-9a-f]{16}$/)
      .and.not.to.equal('00f067aa0ba902b7');
    const unknown = await ask('unknown', { traceparent: TRACEPARENT.toUpperCase() });
    expect(unknown['trace_id'])
      .to.match(/^[0-9a-f]{32}$/)
      .and.not.to.equal(TRACE);
  });
});
