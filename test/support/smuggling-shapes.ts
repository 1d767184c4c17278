/** Requests whose end two parsers may see at different bytes, each followed by another request. */

/** The X-Request-Id of a smuggled request, to a path for which the sidecar admits only a scraper. */
export const SMUGGLED_ID = 'smuggled';
const SMUGGLED = `GET /metrics HTTP/1.1\r\nHost: a\r\nX-Request-Id: ${SMUGGLED_ID}\r\n\r\n`;
const LENGTH = String(SMUGGLED.length);
const SIZE = SMUGGLED.length.toString(16);

export interface SmugglingShape {
  readonly why: string;
  readonly bytes: string;
  /** The answer of the service alone, before it closes the connection; `cut` when it closes it without an answer. */
  readonly alone: 400 | 405 | 417 | 431 | 'cut';
}

/** A GET with these lines after its Host, followed by the other request. */
function withLines(why: string, lines: readonly string[], behind = SMUGGLED): SmugglingShape {
  return shape(why, ['GET /healthz HTTP/1.1', 'Host: a', ...lines], behind);
}

function shape(
  why: string,
  lines: readonly string[],
  behind = SMUGGLED,
  alone: SmugglingShape['alone'] = 400,
): SmugglingShape {
  return { why, bytes: `${lines.join('\r\n')}\r\n\r\n${behind}`, alone };
}

const chunked = (data: string): string => `${data.length.toString(16)}\r\n${data}\r\n0\r\n\r\n`;
const EMPTY = `0\r\n\r\n${SMUGGLED}`;

export const SMUGGLING_SHAPES: readonly SmugglingShape[] = [
  withLines('a body on GET', [`Content-Length: ${LENGTH}`]),
  withLines('a body on GET that is shorter than what follows', ['Content-Length: 5']),
  shape('a body on HEAD', ['HEAD /healthz HTTP/1.1', 'Host: a', `Content-Length: ${LENGTH}`]),
  shape('a body on POST', ['POST /healthz HTTP/1.1', 'Host: a', `Content-Length: ${LENGTH}`], SMUGGLED, 405),
  shape(
    'a body on POST that is shorter',
    ['POST /package HTTP/1.1', 'Host: a', 'Content-Length: 1'],
    `x${SMUGGLED}`,
    405,
  ),
  shape('a body on DELETE', ['DELETE /package HTTP/1.1', 'Host: a', `Content-Length: ${LENGTH}`], SMUGGLED, 405),
  withLines('two lengths', ['Content-Length: 0', `Content-Length: ${LENGTH}`]),
  withLines('two lengths, the other way round', [`Content-Length: ${LENGTH}`, 'Content-Length: 0']),
  withLines('the same length twice', [`Content-Length: ${LENGTH}`, `Content-Length: ${LENGTH}`]),
  withLines('lengths in a list', [`Content-Length: ${LENGTH}, ${LENGTH}`]),
  withLines('different lengths in a list', [`Content-Length: 0, ${LENGTH}`]),
  withLines('a length with a sign', [`Content-Length: +${LENGTH}`]),
  withLines('a negative length', ['Content-Length: -1']),
  withLines('a length in hex', [`Content-Length: 0x${SIZE}`]),
  withLines('a length with a fraction', [`Content-Length: ${LENGTH}.0`]),
  withLines('a length with an exponent', ['Content-Length: 1e1']),
  withLines('a length with a blank inside', ['Content-Length: 1 0']),
  withLines('a length with a parameter', [`Content-Length: ${LENGTH};x`]),
  withLines('a length in quotes', [`Content-Length: "${LENGTH}"`]),
  withLines('a length with leading zeros', [`Content-Length: 000${LENGTH}`]),
  withLines('no length at all', ['Content-Length:']),
  withLines('a length of 2^64 and a little', ['Content-Length: 18446744073709551621']),
  withLines('a length of more digits than numbers have', [`Content-Length: ${'9'.repeat(40)}`]),
  withLines('a length behind a vertical tab', [`Content-Length: \x0b${LENGTH}`]),

  withLines('chunks', ['Transfer-Encoding: chunked'], chunked(SMUGGLED)),
  withLines('no chunks', ['Transfer-Encoding: chunked'], EMPTY),
  withLines('chunks in upper case', ['Transfer-Encoding: CHUNKED'], EMPTY),
  shape('chunks on HEAD', ['HEAD /healthz HTTP/1.1', 'Host: a', 'Transfer-Encoding: chunked'], EMPTY),
  shape('chunks on POST', ['POST /healthz HTTP/1.1', 'Host: a', 'Transfer-Encoding: chunked'], EMPTY, 405),
  withLines('a length and chunks', [`Content-Length: ${LENGTH}`, 'Transfer-Encoding: chunked'], EMPTY),
  withLines('chunks and a length', ['Transfer-Encoding: chunked', 'Content-Length: 4'], EMPTY),
  withLines('chunks and no length', ['Transfer-Encoding: chunked', 'Content-Length: 0'], EMPTY),
  withLines('an unknown coding', ['Transfer-Encoding: xchunked'], EMPTY),
  withLines('an unknown coding, and a length', ['Transfer-Encoding: xchunked', 'Content-Length: 4'], EMPTY),
  withLines('the coding "identity"', ['Transfer-Encoding: identity']),
  withLines('the coding "identity", and a length', ['Transfer-Encoding: identity', `Content-Length: ${LENGTH}`]),
  withLines('chunks of gzip', ['Transfer-Encoding: gzip, chunked'], EMPTY),
  withLines('chunks that are not the last coding', ['Transfer-Encoding: chunked, identity'], EMPTY),
  withLines('chunks twice', ['Transfer-Encoding: chunked, chunked'], EMPTY),
  withLines('two headers of codings', ['Transfer-Encoding: chunked', 'Transfer-Encoding: identity'], EMPTY),
  withLines(
    'two headers of codings, the other way round',
    ['Transfer-Encoding: x', 'Transfer-Encoding: chunked'],
    EMPTY,
  ),
  withLines('no coding at all', ['Transfer-Encoding:'], EMPTY),
  withLines('a coding behind a vertical tab', ['Transfer-Encoding: \x0bchunked'], EMPTY),
  withLines('a coding before a NUL', ['Transfer-Encoding: chunked\0'], EMPTY),
  withLines('a coding in quotes', ['Transfer-Encoding: "chunked"'], EMPTY),
  withLines('a coding with a parameter', ['Transfer-Encoding: chunked;q=1'], EMPTY),
  withLines('a comma before the coding', ['Transfer-Encoding: ,chunked'], EMPTY),
  shape('chunks in HTTP/1.0', ['GET /healthz HTTP/1.0', 'Host: a', 'Transfer-Encoding: chunked'], EMPTY),
  withLines('a chunk with an extension', ['Transfer-Encoding: chunked'], `0;x=y\r\n\r\n${SMUGGLED}`),
  withLines('a chunk whose line ends by LF', ['Transfer-Encoding: chunked'], `0\n\n${SMUGGLED}`),
  withLines('a chunk whose size has a sign', ['Transfer-Encoding: chunked'], `+0\r\n\r\n${SMUGGLED}`),
  withLines('a chunk whose size is like hex', ['Transfer-Encoding: chunked'], `0x0\r\n\r\n${SMUGGLED}`),
  withLines('a chunk larger than numbers', ['Transfer-Encoding: chunked'], `${'f'.repeat(17)}\r\n${SMUGGLED}`),
  withLines(
    'a trailer that is a Host',
    ['Transfer-Encoding: chunked', 'Trailer: Host'],
    `0\r\nHost: b\r\n\r\n${SMUGGLED}`,
  ),

  withLines('a space before the colon of a length', [`Content-Length : ${LENGTH}`]),
  withLines('a tab before the colon of a length', [`Content-Length\t: ${LENGTH}`]),
  withLines('a space before the colon of a coding', ['Transfer-Encoding : chunked'], EMPTY),
  withLines('a space before a header', [` Content-Length: ${LENGTH}`]),
  withLines('a tab before a header', [`\tTransfer-Encoding: chunked`], EMPTY),
  shape('a space before the first header', ['GET /healthz HTTP/1.1', ' Host: a']),
  withLines('a length folded into the next line', ['Content-Length:', ` ${LENGTH}`]),
  withLines('a coding folded into the next line', ['Transfer-Encoding:', '\tchunked'], EMPTY),
  withLines('a folded header of another kind', ['X-A: b', ' Content-Length: 4']),
  withLines('a header without a colon', ['Content-Length']),
  withLines('a header without a name', [': b']),
  withLines('a name with a NUL', [`Content-Length\0: ${LENGTH}`]),
  withLines('a name with brackets', ['Content(Length): 4']),
  withLines('a name that is not ASCII', ['Content-L\xe9ngth: 4']),
  withLines('a bare CR in a value', ['X-A: b\rContent-Length: 4']),
  withLines('a bare LF in a value', ['X-A: b\nContent-Length: 4']),
  withLines('a NUL in a value', ['X-A: b\0Content-Length: 4']),
  withLines('a line that ends by CR CR LF', ['X-A: b\r']),
  { why: 'lines that end by LF', bytes: `GET /healthz HTTP/1.1\nHost: a\n\n${SMUGGLED}`, alone: 400 },
  { why: 'a head that ends by LF', bytes: `GET /healthz HTTP/1.1\r\nHost: a\r\n\n${SMUGGLED}`, alone: 400 },
  { why: 'a head that ends by CR', bytes: `GET /healthz HTTP/1.1\r\nHost: a\r\n\r${SMUGGLED}`, alone: 400 },
  { why: 'a request line that ends by CR', bytes: `GET /healthz HTTP/1.1\rHost: a\r\n\r\n${SMUGGLED}`, alone: 400 },

  shape('no Host', ['GET /healthz HTTP/1.1', 'X-A: b']),
  shape('two Hosts', ['GET /healthz HTTP/1.1', 'Host: a', 'Host: b']),
  shape('the same Host twice', ['GET /healthz HTTP/1.1', 'Host: a', 'host: a']),
  shape('two hosts in one Host', ['GET /healthz HTTP/1.1', 'Host: a, b']),
  shape('a Host with a path', ['GET /healthz HTTP/1.1', 'Host: a/metrics']),
  shape('a Host with user information', ['GET /healthz HTTP/1.1', 'Host: a@b']),
  shape('a Host with a query', ['GET /healthz HTTP/1.1', 'Host: a?b']),
  shape('a Host with a fragment', ['GET /healthz HTTP/1.1', 'Host: a#b']),
  shape('a Host with a port that is none', ['GET /healthz HTTP/1.1', 'Host: a:b']),
  shape('a Host in half a bracket', ['GET /healthz HTTP/1.1', 'Host: [::1']),

  shape('a whole URL without a host', ['GET http:///healthz HTTP/1.1', 'Host: a']),
  shape('a whole URL with user information', ['GET http://a@b/healthz HTTP/1.1', 'Host: b']),
  shape('a whole URL of another scheme', ['GET ftp://a/healthz HTTP/1.1', 'Host: a']),
  shape('a whole URL with a fragment', ['GET http://a/healthz#/metrics HTTP/1.1', 'Host: a']),
  shape('a whole URL and no Host', ['GET http://a/healthz HTTP/1.1']),
  shape('a whole URL and two Hosts', ['GET http://a/healthz HTTP/1.1', 'Host: a', 'Host: a']),
  shape('a whole URL and a Host with a path', ['GET http://a/healthz HTTP/1.1', 'Host: a/b']),
  shape('a whole URL that is none', ['GET http://[a/healthz HTTP/1.1', 'Host: a']),
  shape('an authority for a target', ['GET a:80 HTTP/1.1', 'Host: a']),
  shape('CONNECT', ['CONNECT a:80 HTTP/1.1', 'Host: a'], SMUGGLED, 'cut'),
  shape('an asterisk for a target', ['GET * HTTP/1.1', 'Host: a']),
  shape('OPTIONS of an asterisk', ['OPTIONS * HTTP/1.1', 'Host: a']),
  shape('a fragment in the target', ['GET /healthz#/metrics HTTP/1.1', 'Host: a']),
  shape('a target that is not ASCII', ['GET /h\xe9althz HTTP/1.1', 'Host: a']),
  shape('a NUL in the target', ['GET /healthz\0 HTTP/1.1', 'Host: a']),
  shape('a space in the target', ['GET /healthz /metrics HTTP/1.1', 'Host: a']),
  shape('a tab in the target', ['GET /healthz\t HTTP/1.1', 'Host: a']),
  shape(
    'a request within the target',
    ['GET /healthz%20HTTP/1.1%0d%0aX:%20 HTTP/1.1', 'Host: a', 'Connection: close'],
    SMUGGLED,
    400,
  ),
  shape('a blank before the method', [' GET /healthz HTTP/1.1', 'Host: a']),
  shape('a blank behind the version', ['GET /healthz HTTP/1.1 ', 'Host: a']),
  shape('tabs in the request line', ['GET\t/healthz\tHTTP/1.1', 'Host: a']),
  shape('a method in lower case', ['get /healthz HTTP/1.1', 'Host: a']),
  shape('a method nobody knows', ['GETS /healthz HTTP/1.1', 'Host: a']),
  shape('no version', ['GET /healthz', 'Host: a']),
  shape('HTTP/1.2', ['GET /healthz HTTP/1.2', 'Host: a']),
  shape('HTTP/2.0 in the words of HTTP/1', ['GET /healthz HTTP/2.0', 'Host: a']),
  shape('HTTP/2 itself', ['PRI * HTTP/2.0', '', 'SM']),
  shape('a protocol of another name', ['GET /healthz ICAP/1.0', 'Host: a']),
  shape('HTTP/1.0, after which the connection is closed', ['GET /healthz HTTP/1.0', 'Host: a'], SMUGGLED, 400),
  shape('a connection that is to be closed', ['GET /healthz HTTP/1.1', 'Host: a', 'Connection: close'], SMUGGLED, 400),

  withLines('an expected 100 before a body', ['Expect: 100-continue', `Content-Length: ${LENGTH}`]),
  shape('an expectation nobody knows', ['GET /healthz HTTP/1.1', 'Host: a', 'Expect: 200-ok'], SMUGGLED, 417),
  withLines('an upgrade with a body', ['Connection: upgrade', 'Upgrade: h2c', `Content-Length: ${LENGTH}`]),
  shape(
    'more headers than anybody has',
    ['GET /healthz HTTP/1.1', 'Host: a', ...Array<string>(3000).fill('a:')],
    SMUGGLED,
    431,
  ),
  shape('a header of 65 KiB', ['GET /healthz HTTP/1.1', 'Host: a', `X-A: ${'a'.repeat(66_000)}`], SMUGGLED, 431),
];
