/** RFC 9110 token: header names, methods, Connection options. */
const token = /^[!#$%&'*+\-.^_`|~0-9A-Za-z]+$/

/** Anything but tab, printable ASCII and obs-text: CR, LF and NUL above all. */
const forbiddenInValue = /[^\t\x20-\x7e\x80-\xff]/

/** Anything but visible ASCII: a space or a line break here would begin another header. */
const forbiddenInTarget = /[^\x21-\x7e]/

export function isToken(text: string): boolean {
  return token.test(text)
}

/** Whether a header value can be written as it is, without beginning another line. */
export function isHeaderValue(text: string): boolean {
  return !forbiddenInValue.test(text)
}

/** Whether a request target can be written as it is; RFC 3986 is not checked further. */
export function isTarget(text: string): boolean {
  return text.length > 0 && !forbiddenInTarget.test(text)
}
