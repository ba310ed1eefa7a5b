// What may stand in a header (RFC 9110, 5.6.2 and 5.5), on its way in and on its way out.

/** A name or a method. */
export const TOKEN = /^[!#$%&'*+.^_`|~0-9A-Za-z-]+$/

/** As latin1, which is how the parser gives it. */
export const FIELD_VALUE = /^[\t\x20-\x7e\x80-\xff]*$/
