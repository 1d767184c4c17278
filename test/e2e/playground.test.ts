import { expect } from 'chai';
import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { Sandbox } from '../support/pages/sandbox.ts';
import { describeWithAll } from '../support/peers/binaries.ts';
import { PROGRAMS } from '../../tools/playground/playground.ts';

const TIMEOUT_MS = 300_000;
const STARTED = `
npm run playground >log 2>&1 &
playground=$!
until grep -q 'Ctrl-C ends it' log; do kill -0 "$playground" || { cat log >&2; exit 1; }; sleep 0.2; done`;
/** The sandbox has processes of its own; names instead of command lines, of which that of the shell has all words. */
const ENDED = `
kill -INT "$(pgrep -xf 'node tools/playground/main.ts')"
wait "$playground"
echo "left: $(pgrep -c 'etcd|kube|docker-reg|node|MainThread') processes, $(ls .cache/playground "$TMPDIR" 2>/dev/null | grep -cE 'kubeconfig|cluster-|peer-|pod-') files"`;

const obstacle = Sandbox.obstacle();

describeWithAll(PROGRAMS, (programs) => {
  describe('npm run playground', () => {
    const test = obstacle === undefined ? it : it.skip;

    async function run(script: string, path: Readonly<Record<string, string>> = programs): Promise<string> {
      const sandbox = Sandbox.make(true, path);
      try {
        const [program, ...args] = sandbox.wrap(['bash', '-euc', script]);
        const options = { cwd: sandbox.directory, env: sandbox.environment(), timeout: TIMEOUT_MS };
        return (await promisify(execFile)(program, args, options)).stdout;
      } finally {
        sandbox.remove();
      }
    }

    test('starts a cluster with three masters that serve packages, and leaves no process or file', async () => {
      const use = `
. .cache/playground/env
kubectl -n d8-cloud-instance-manager get deployment registry-packages-proxy -o 'go-template=ready: {{.status.readyReplicas}}{{"\\n"}}'
kubectl auth can-i create deployments
examples/fetch-package.sh sha256:984490c296f64014805541e90aa487d181be9d7712bd9cbb69d0bcc6b09fadf5 package.tar.gz
tar -tzf package.tar.gz`;
      const printed = await run(STARTED + use + ENDED);
      expect(printed).to.equal('ready: 3\nyes\ninstall\nREADME\nleft: 0 processes, 0 files\n');
    }).timeout(TIMEOUT_MS);

    test('stops during its start', async () => {
      const printed = await run(`
npm run playground >log 2>&1 &
playground=$!
until grep -q 'three masters' log; do kill -0 "$playground" || { cat log >&2; exit 1; }; sleep 0.1; done${ENDED}`);
      expect(printed).to.equal('left: 0 processes, 0 files\n');
    }).timeout(TIMEOUT_MS);

    test('reports ports that other processes use', async () => {
      const printed = await run(`
node -e 'require("net").createServer().listen(4219, "127.0.0.2", () => console.log("here"))' >other &
until grep -q here other; do sleep 0.1; done
npm run playground 2>&1 && exit 1
kill $!`);
      expect(printed).to.include('Other processes listen at 127.0.0.2:4219: end them first.');
    }).timeout(TIMEOUT_MS);
  });
});
