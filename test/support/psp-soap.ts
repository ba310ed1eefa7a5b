// A processor that is spoken to in SOAP 1.1 or 1.2, document/literal, in the words of CyberSource's
// Simple Order API: one operation, an authorization by card. Its key stands in `Authorization`;
// WS-Security headers are not looked at. `GET` gives its description (WSDL).

import type { Card, DeclineReason } from './psp-cards.ts'
import { declineOf, isExpired, numberFault, randomDigits } from './psp-cards.ts'
import type { Answer, Call, Fields, Processor } from './psp-processor.ts'
import { nested } from './psp-processor.ts'
import { childOf, escapeXml, parseXml, type XmlElement } from './xml.ts'

const NAMESPACE = 'urn:psp.test:transaction-data'
const SOAP_11 = 'http://schemas.xmlsoap.org/soap/envelope/'
const SOAP_12 = 'http://www.w3.org/2003/05/soap-envelope'

const REJECTED: Readonly<Record<DeclineReason, string>> = {
  generic_decline: '203',
  insufficient_funds: '204',
  fraudulent: '481',
  lost_card: '205',
  stolen_card: '205',
  expired_card: '202',
  incorrect_cvc: '211',
  processing_error: '150',
}

export const SOAP_PATHS = /^\/transactionProcessor$/

export function createSoap(): Processor {
  return {
    parse,
    cardOf(fields) {
      const { accountNumber, expirationMonth, expirationYear, cvNumber } = nested(fields, 'card')
      return {
        number: accountNumber,
        expMonth: expirationMonth,
        expYear: expirationYear,
        cvc: cvNumber,
      }
    },
    unauthorized: (call) => fault(call, 'Authentication failed.'),
    malformed: (call) => fault(call, 'The message is not well-formed.'),
    answer(call, fields) {
      if (call.method === 'GET') {
        const headers = { 'Content-Type': 'text/xml; charset=utf-8' }
        return { status: 200, headers, xml: describe(`${call.origin}${call.path}`) }
      }
      return call.method === 'POST' ? answerFor(call, fields) : undefined
    },
  }
}

/** The message in the body; names without prefixes, attributes with an `@`. */
function parse(bytes: Buffer): Fields | undefined {
  const envelope = parseXml(bytes)
  if (envelope?.name !== 'Envelope') return undefined
  if (envelope.namespace !== SOAP_11 && envelope.namespace !== SOAP_12) return undefined
  const message = childOf(childOf(envelope, 'Body'), 'requestMessage')
  if (message?.namespace !== NAMESPACE) return undefined
  return fieldsOf(message)
}

function fieldsOf({ attributes, children }: XmlElement): Fields {
  return Object.fromEntries([
    ...Object.entries(attributes).map(([name, value]) => [`@${name}`, value]),
    ...children.map((child) => {
      const isLeaf = child.children.length === 0 && Object.keys(child.attributes).length === 0
      return [child.name, isLeaf ? child.text : fieldsOf(child)]
    }),
  ])
}

function answerFor(call: Call, fields: Fields): Answer {
  const given = nested(fields, 'card')
  const { grandTotalAmount, currency } = nested(fields, 'purchaseTotals')
  const month = String(given.expirationMonth)
  const year = String(given.expirationYear)
  const isDate = /^(0[1-9]|1[0-2])$/.test(month) && /^\d{4}$/.test(year)
  const isCvc = given.cvNumber === undefined || /^\d{3,4}$/.test(String(given.cvNumber))
  const checks: readonly (readonly [isBroken: boolean, code: string, field: string])[] = [
    [typeof fields.merchantReferenceCode !== 'string', '101', 'merchantReferenceCode'],
    [!/^\d{1,7}\.\d\d$/.test(String(grandTotalAmount)), '102', 'purchaseTotals/grandTotalAmount'],
    [!/^[A-Z]{3}$/.test(String(currency)), '102', 'purchaseTotals/currency'],
    [numberFault(given.accountNumber) !== undefined, '231', 'card/accountNumber'],
    [!isDate, '102', 'card/expirationMonth'],
    [!isCvc, '102', 'card/cvNumber'],
    [nested(fields, 'ccAuthService')['@run'] !== 'true', '101', 'ccAuthService'],
  ]
  const broken = checks.find(([isBroken]) => isBroken)
  if (broken !== undefined) {
    const [, code, field] = broken
    return decision(call, fields, 'REJECT', code, `<invalidField>c:${field}</invalidField>`)
  }
  const card: Card = {
    number: String(given.accountNumber),
    expMonth: Number(month),
    expYear: Number(year),
    cvc: given.cvNumber === undefined ? undefined : String(given.cvNumber),
  }
  if (isExpired(card.expMonth, card.expYear, new Date())) {
    return decision(call, fields, 'REJECT', '202')
  }
  const reason = declineOf(card)
  if (reason !== undefined) {
    const word = reason === 'processing_error' ? 'ERROR' : 'REJECT'
    return decision(call, fields, word, REJECTED[reason])
  }
  const authorized = `<ccAuthReply><reasonCode>100</reasonCode><amount>${grandTotalAmount}</amount><authorizationCode>${randomDigits(6)}</authorizationCode></ccAuthReply>`
  return decision(call, fields, 'ACCEPT', '100', authorized)
}

function decision(call: Call, fields: Fields, word: string, code: string, more = ''): Answer {
  const reference = escapeXml(String(fields.merchantReferenceCode ?? ''))
  const reply = `<replyMessage xmlns="${NAMESPACE}"><merchantReferenceCode>${reference}</merchantReferenceCode><requestID>${randomDigits(22)}</requestID><decision>${word}</decision><reasonCode>${code}</reasonCode>${more}</replyMessage>`
  return envelope(call, 200, reply)
}

function fault(call: Call, text: string): Answer {
  const body = isSoap12(call)
    ? `<s:Fault><s:Code><s:Value>s:Sender</s:Value></s:Code><s:Reason><s:Text xml:lang="en">${text}</s:Text></s:Reason></s:Fault>`
    : `<s:Fault><faultcode>s:Client</faultcode><faultstring>${text}</faultstring></s:Fault>`
  return envelope(call, 500, body)
}

function envelope(call: Call, status: number, body: string): Answer {
  const [namespace, type] = isSoap12(call)
    ? [SOAP_12, 'application/soap+xml']
    : [SOAP_11, 'text/xml']
  const xml = `<?xml version="1.0" encoding="utf-8"?><s:Envelope xmlns:s="${namespace}"><s:Body>${body}</s:Body></s:Envelope>`
  return { status, headers: { 'Content-Type': `${type}; charset=utf-8` }, xml }
}

function isSoap12(call: Call): boolean {
  return (call.headers['content-type'] ?? '').startsWith('application/soap+xml')
}

function describe(location: string): string {
  const element = (name: string, type = 'xsd:string', more = '') =>
    `<xsd:element name="${name}" type="${type}" minOccurs="0"${more}/>`
  const type = (name: string, ...content: string[]) =>
    `<xsd:complexType name="${name}"><xsd:sequence>${content.join('')}</xsd:sequence></xsd:complexType>`
  const message = (name: string) =>
    `<wsdl:message name="${name}"><wsdl:part name="body" element="tns:${name}"/></wsdl:message>`
  return `<?xml version="1.0" encoding="utf-8"?>
<wsdl:definitions name="Transactions" targetNamespace="${NAMESPACE}" xmlns:tns="${NAMESPACE}"
  xmlns:wsdl="http://schemas.xmlsoap.org/wsdl/" xmlns:soap="http://schemas.xmlsoap.org/wsdl/soap/"
  xmlns:xsd="http://www.w3.org/2001/XMLSchema">
  <wsdl:types><xsd:schema targetNamespace="${NAMESPACE}" elementFormDefault="qualified">
    ${type('Card', ...['fullName', 'accountNumber', 'expirationMonth', 'expirationYear', 'cvNumber'].map((name) => element(name)))}
    ${type('PurchaseTotals', element('currency'), element('grandTotalAmount'))}
    <xsd:complexType name="CCAuthService"><xsd:attribute name="run" type="xsd:string"/></xsd:complexType>
    ${type('RequestMessage', element('merchantReferenceCode'), element('purchaseTotals', 'tns:PurchaseTotals'), element('card', 'tns:Card'), element('ccAuthService', 'tns:CCAuthService'))}
    ${type('CCAuthReply', element('reasonCode'), element('amount'), element('authorizationCode'))}
    ${type('ReplyMessage', element('merchantReferenceCode'), element('requestID'), element('decision'), element('reasonCode'), element('invalidField', 'xsd:string', ' maxOccurs="unbounded"'), element('ccAuthReply', 'tns:CCAuthReply'))}
    <xsd:element name="requestMessage" type="tns:RequestMessage"/>
    <xsd:element name="replyMessage" type="tns:ReplyMessage"/>
  </xsd:schema></wsdl:types>
  ${message('requestMessage')}${message('replyMessage')}
  <wsdl:portType name="Processor"><wsdl:operation name="runTransaction">
    <wsdl:input message="tns:requestMessage"/><wsdl:output message="tns:replyMessage"/>
  </wsdl:operation></wsdl:portType>
  <wsdl:binding name="ProcessorBinding" type="tns:Processor">
    <soap:binding style="document" transport="http://schemas.xmlsoap.org/soap/http"/>
    <wsdl:operation name="runTransaction"><soap:operation soapAction="runTransaction"/>
      <wsdl:input><soap:body use="literal"/></wsdl:input>
      <wsdl:output><soap:body use="literal"/></wsdl:output>
    </wsdl:operation>
  </wsdl:binding>
  <wsdl:service name="Transactions"><wsdl:port name="Processor" binding="tns:ProcessorBinding">
    <soap:address location="${location}"/>
  </wsdl:port></wsdl:service>
</wsdl:definitions>`
}
