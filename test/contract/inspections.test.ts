import { RequestHistory } from '../../src/adapters/http/server/request-record.ts';
import { RequestTrace } from '../../src/adapters/http/server/trace-context.ts';
import { ObservedRegistryGateway } from '../../src/adapters/observers/observed-ports.ts';
import { UpstreamHistory } from '../../src/adapters/observers/upstream-history.ts';
import { describeRequestInspection } from './request-inspection.ts';
import { describeUpstreamInspection } from './upstream-inspection.ts';

describeUpstreamInspection('UpstreamHistory', (gateway) => {
  const history = new UpstreamHistory();
  return { inspection: history, gateway: new ObservedRegistryGateway(gateway, [history.observe]) };
});

describeRequestInspection('RequestHistory', () => {
  let now = Date.parse('2026-11-25T16:05:30Z');
  const history = new RequestHistory(() => now);
  return {
    inspection: history,
    pass: (milliseconds) => {
      now += milliseconds;
    },
    end: (request, error) => {
      history.observe({
        ...{ id: '1', trace: new RequestTrace('', ''), client: '127.0.0.1', connected: '127.0.0.1' },
        ...{ method: 'GET', route: '/package', package: request, bytes: error === undefined ? 8 : 0, seconds: 0.1 },
        cache: error === undefined ? { kind: 'hit', storedAt: new Date() } : undefined,
        status: error === undefined ? 200 : 502,
        error,
      });
    },
  };
});
