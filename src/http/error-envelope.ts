// How an error of ours looks on the wire, and how what Fastify throws becomes one of ours. Fixed texts: what a
// parser or a validator says about the input is never passed on.

import {
  AppError,
  ERRORS,
  type ErrorBody,
  errorBody,
  invalidField,
  type Reason,
} from '../core/errors.ts'

export function errorReply(
  error: AppError,
  requestId: string,
): { status: number; body: ErrorBody } {
  return {
    status: ERRORS[error.reason].status,
    body: errorBody(error.reason, requestId, { code: error.code, details: error.details }),
  }
}

type ValidationError = {
  readonly keyword: string
  readonly instancePath: string
  readonly params: Record<string, unknown>
}

export function fromFastify(error: unknown): AppError {
  if (error instanceof AppError) return error
  if (typeof error !== 'object' || error === null)
    return new AppError('internal_error', { cause: error })
  if ('validation' in error && Array.isArray(error.validation)) {
    return fromValidation(error.validation[0] as ValidationError | undefined)
  }
  switch ('code' in error ? error.code : undefined) {
    case 'FST_ERR_CTP_BODY_TOO_LARGE':
      return new AppError('body_too_large')
    case 'FST_ERR_CTP_INVALID_MEDIA_TYPE':
      return new AppError('content_encoding_unsupported')
    case 'FST_ERR_CTP_INVALID_JSON_BODY':
    case 'FST_ERR_CTP_EMPTY_JSON_BODY':
    case 'FST_ERR_CTP_INVALID_CONTENT_LENGTH':
      return new AppError('malformed_body')
    default:
  }
  if ('statusCode' in error && typeof error.statusCode === 'number' && error.statusCode < 500) {
    return new AppError('malformed_body')
  }
  return new AppError('internal_error', { cause: error })
}

const UNTOLD: ReadonlySet<Reason> = new Set(['invalid_value', 'missing_field', 'malformed_body'])

/**
 * What a page is told of it: that something about what it sent is wrong, and not what. Luhn, date and code are not told
 * apart, and no field is named, or cards could be tried out.
 */
export function untold({ reason, code, cause }: AppError): AppError {
  return UNTOLD.has(reason)
    ? new AppError('invalid_value', { cause })
    : new AppError(reason, { code, cause })
}

/** The schema's verdict as one of our reasons, naming the field at fault and nothing of its value. */
export function fromValidation(error: ValidationError | undefined): AppError {
  if (error === undefined) return new AppError('invalid_value')
  const { keyword, params } = error
  switch (keyword) {
    case 'required':
      return invalidField(
        'missing_field',
        String(firstOf(params.missingProperty ?? params.requiredProperties)),
      )
    case 'additionalProperties':
      return invalidField(
        'unknown_field',
        String(firstOf(params.additionalProperty ?? params.additionalProperties)),
      )
    case 'type':
      return invalidField('wrong_type', fieldName(error.instancePath))
    default:
      return invalidField('invalid_value', fieldName(error.instancePath))
  }
}

/** Ajv names one property, TypeBox all of them. */
function firstOf(value: unknown): unknown {
  return Array.isArray(value) ? value[0] : value
}

/** The innermost name of a JSON pointer: `/payment_method_data/card/card_number` is `card_number`. */
function fieldName(pointer: string): string {
  return pointer.split('/').findLast((part) => part !== '' && !/^[0-9]+$/.test(part)) ?? ''
}
