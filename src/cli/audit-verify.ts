// `sallyport audit-verify FILE`: for auditors; needs the file and nothing else.

import { verifyAuditFile } from '../audit/verify.ts'

export async function auditVerify(file: string, print: (text: string) => void): Promise<number> {
  const verdict = await verifyAuditFile(file)
  if (verdict.kind === 'intact') {
    print(`intact: ${verdict.lines} lines\n`)
    return 0
  }
  print(`broken at line ${verdict.line}: ${verdict.why}\n`)
  return 1
}
