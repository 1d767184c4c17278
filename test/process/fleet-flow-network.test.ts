import { expect } from 'chai';
import { FlowClass, FlowNetwork } from '../../bench/fleet/flow-network.ts';

/** When each of these flows has ended, in seconds. */
function ends(run: (network: FlowNetwork, ended: (name: string) => () => void) => void): Record<string, number> {
  const network = new FlowNetwork();
  const times: Record<string, number> = {};
  run(network, (name) => () => {
    times[name] = Number(network.now.toFixed(6));
  });
  network.run();
  return times;
}

describe('the network of flows', () => {
  it('sends 100 bytes to each of two nodes over one link of 10 bytes a second in 20 seconds', () => {
    const times = ends((network, ended) => {
      const flows = new FlowClass({ links: [network.link(10)] });
      network.start(flows, 100, ended('a'));
      network.start(flows, 100, ended('b'));
    });
    expect(times).to.deep.equal({ a: 20, b: 20 });
  });

  it('gives the whole link to the last flow', () => {
    const times = ends((network, ended) => {
      const flows = new FlowClass({ links: [network.link(10)] });
      network.start(flows, 100, ended('large'));
      network.start(flows, 20, ended('small'));
    });
    // Both at 5 for 4 seconds, then 80 bytes at 10.
    expect(times).to.deep.equal({ small: 4, large: 12 });
  });

  it('slows a flow down when another flow begins', () => {
    const times = ends((network, ended) => {
      const flows = new FlowClass({ links: [network.link(10)] });
      network.start(flows, 100, ended('first'));
      network.after(5, () => {
        network.start(flows, 100, ended('second'));
      });
    });
    // 50 bytes alone, 50 at 5; then the second has 50 left, at 10.
    expect(times).to.deep.equal({ first: 15, second: 20 });
  });

  it('keeps readers behind the download that they read, and continues at their own rate after the download', () => {
    const times = ends((network, ended) => {
      const master = network.link(100);
      const download = new FlowClass({ links: [network.link(10)] });
      const hits = new FlowClass({ links: [master], limit: 50 });
      const behind = new FlowClass({ links: [master], limit: 50, behind: download });
      network.start(download, 100, () => {
        network.move(behind, hits);
      });
      network.start(behind, 100, ended('with the first byte'));
      network.after(5, () => {
        network.start(behind, 100, ended('in the middle'));
      });
    });
    // The second has read 50 bytes at 10 by second 10, and reads the other 50 at 50.
    expect(times).to.deep.equal({ 'with the first byte': 10, 'in the middle': 11 });
  });

  it('counts the bytes of each link and the concurrent flows', () => {
    const network = new FlowNetwork();
    const [near, far] = [network.link(10), network.link(100)];
    const flows = new FlowClass({ links: [near, far] });
    for (let index = 0; index < 3; index++) network.start(flows, 50, () => undefined);
    network.start(new FlowClass({ links: [far] }), 7, () => undefined);
    network.run();
    expect([near.bytes, far.bytes].map(Math.round)).to.deep.equal([150, 157]);
    expect([near.peakFlows, far.peakFlows, near.flows]).to.deep.equal([3, 4, 0]);
  });

  it('rejects flows that never end', () => {
    const network = new FlowNetwork();
    network.start(new FlowClass({ links: [network.link(0)] }), 1, () => undefined);
    expect(() => {
      network.run();
    }).to.throw('never end');
  });
});
