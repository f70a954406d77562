declare const brand: unique symbol

/** A `Base` that has been through the parser of `Name`: a plain `Base` does not fit where it is wanted. */
export type Brand<Base, Name extends string> = Base & { readonly [brand]: Name }
