// Node's own HTTP parser, llhttp, without the streams that node:http puts around it. The module is not documented, so
// the product runs on the one release of Node that it was tested with (package.json, `engines`).

export { HTTPParser, methods, type OnHeadersComplete } from 'node:_http_common'
