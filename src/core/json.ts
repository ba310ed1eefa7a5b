// What a merchant stores beside a card and gets back as it was: any JSON object.

export type JsonObject = Record<string, unknown>
