import { Marked, type RendererObject, type Token, type TokenizerObject, type Tokens } from 'marked'
import { escapeHtml, escapeText } from './escape.ts'
import { style } from './style.ts'

/**
 * A whole HTML page of a Markdown text, with nothing in it that a browser would run: HTML in the text is shown, not
 * obeyed, and only harmless addresses become links.
 *
 * @param language - What the text is written in, as in `<html lang>`.
 */
export function renderPage(markdown: string, { language }: { language: string }): string {
  const marked = new Marked({ gfm: true, tokenizer: withoutHtml, renderer: createRenderer() })
  const tokens = marked.lexer(markdown)
  const heading = tokens.find((token): token is Tokens.Heading => token.type === 'heading')
  const title = heading ? plainText(heading.tokens).trim() : ''
  return `<!doctype html>
<html lang="${escapeHtml(language)}">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>${title || 'Untitled'}</title>
<style>${style}</style>
</head>
<body>
<main>
${marked.parser(tokens)}</main>
</body>
</html>
`
}

/**
 * HTML is not recognised at all, neither blocks nor tags. To escape it later would be too late: between `<code>` and
 * `</code>`, marked already takes text for HTML.
 */
const withoutHtml: TokenizerObject = { html: () => undefined, tag: () => undefined }

function createRenderer(): RendererObject {
  const slugs = new Map<string, number>()
  return {
    heading({ tokens, depth }) {
      const id = uniqueSlug(plainText(tokens), slugs)
      return `<h${depth} id="${escapeHtml(id)}">${this.parser.parseInline(tokens)}</h${depth}>\n`
    },
    link({ href, title, text, tokens, autolink }) {
      const inner = autolink ? escapeHtml(text) : this.parser.parseInline(tokens)
      const address = safeAddress(href, linkProtocols)
      return address === undefined
        ? inner
        : `<a href="${escapeHtml(address)}"${titleAttribute(title)}>${inner}</a>`
    },
    image({ href, title, text, tokens }) {
      const alt = tokens ? plainText(tokens) : escapeText(text)
      const address = safeAddress(href, imageProtocols)
      return address === undefined
        ? alt
        : `<img src="${escapeHtml(address)}" alt="${alt}"${titleAttribute(title)}>`
    },
  }
}

const linkProtocols = ['http:', 'https:', 'mailto:']
const imageProtocols = ['http:', 'https:']

/**
 * The address, if a browser would go to one of the protocols with it, or stay on the page's own. The very string that
 * was checked must be written out, every `&` escaped: `&#106;avascript:` would be something else for the browser.
 */
function safeAddress(href: string, protocols: readonly string[]): string | undefined {
  const address = href.replaceAll('&amp;', '&')
  const url = URL.parse(address, 'https://page.invalid/')
  return url !== null && protocols.includes(url.protocol) ? address : undefined
}

function titleAttribute(title: string | null | undefined): string {
  return title ? ` title="${escapeText(title)}"` : ''
}

/** What is left of inline Markdown without its marks, escaped. */
function plainText(tokens: readonly Token[]): string {
  return tokens
    .map((token) => {
      if (token.type === 'codespan') return escapeHtml(token['text'])
      if ('tokens' in token && token.tokens) return plainText(token.tokens)
      if (token.type === 'br') return ' '
      return escapeText('text' in token ? token.text : '')
    })
    .join('')
}

/** The anchor of a heading as on GitHub: `Code & tables` has `#code--tables`, the second of its name `-1`. */
function uniqueSlug(escaped: string, slugs: Map<string, number>): string {
  const slug = escaped
    .replace(/&#?\w+;/g, '')
    .trim()
    .toLowerCase()
    .replace(/[^\p{L}\p{M}\p{N}\s_-]/gu, '')
    .replace(/\s/g, '-')
  const earlier = slugs.get(slug) ?? 0
  slugs.set(slug, earlier + 1)
  return earlier === 0 ? slug : `${slug}-${earlier}`
}
