/** The media type of an answer (RFC 9110, section 8.3.1), and whether it looks like a page. */
import type { IncomingHttpHeaders } from 'node:http';

export const HTML = 'text/html';

/** Type and subtype have at most 127 characters each (RFC 6838, section 4.2); what has others is not shown to operators. */
const MEDIA_TYPE = /^[ \t]*([a-z0-9][a-z0-9!#$&^_.+-]{0,126}\/[a-z0-9][a-z0-9!#$&^_.+-]{0,126})[ \t]*(?:;|$)/;

/** Without its parameters, in lower case; undefined when there is none or it is malformed. */
export function mediaTypeOf({ 'content-type': type = '' }: IncomingHttpHeaders): string | undefined {
  return MEDIA_TYPE.exec(type.slice(0, 512).toLowerCase())?.[1];
}

/** Whether bytes begin as HTML or XML do. */
export function isMarkup(bytes: Uint8Array): boolean {
  return /^(?:\xef\xbb\xbf)?\s*<(?:!doctype|!--|\?xml|html|head|body)[\s>-]/i.test(
    Buffer.from(bytes.subarray(0, 256)).toString('latin1'),
  );
}
