import { readFile } from 'node:fs/promises'
import fc from 'fast-check'
import { expect, test } from 'vitest'
import program from './src/index.ts'
import { renderPage } from './src/render-page.ts'

const url = 'http://alice.localhost/'
const post = (body: string | FormData | Uint8Array<ArrayBuffer>, query = '') =>
  program.fetch(new Request(url + query, { method: 'POST', body }))
const readInput = (name: string) => readFile(new URL(name, import.meta.url))

/** What the page's body holds, without the frame around it. */
const bodyOf = (page: string) => page.slice(page.indexOf('<main>\n') + 7, page.indexOf('</main>'))
const render = (markdown: string) => bodyOf(renderPage(markdown, { language: 'en' })).trimEnd()

test('the sample becomes exactly the page that is committed beside it', async () => {
  const response = await post(new Uint8Array(await readInput('sample.md')))
  expect(response.status).toBe(200)
  expect(response.headers.get('content-type')).toBe('text/html; charset=utf-8')
  expect(response.headers.get('content-security-policy')).toContain("default-src 'none'")
  expect(await response.text()).toBe((await readInput('sample.html')).toString())
})

test('GET answers a page that says how to use it', async () => {
  const response = await program.fetch(new Request(url))
  const page = await response.text()
  expect([response.status, response.headers.get('content-type')]).toEqual([200, 'text/html; charset=utf-8'])
  expect(page).toContain('<title>Markdown to HTML</title>')
  expect(page).toContain('curl --data-binary @sample.md &lt;this address&gt;')
})

test.each([
  ['# One *two* `<three>` [four](/4) AT&amp;T &copy;', 'One two &lt;three&gt; four AT&amp;T &copy;'],
  ['Text first\n\n## Then a heading\n\n# And another', 'Then a heading'],
  ['Underlined\n===', 'Underlined'],
  ['No heading', 'Untitled'],
  ['#\n\ntext', 'Untitled'],
  ['# </title><script>', '&lt;/title&gt;&lt;script&gt;'],
])('the title of %j is the text of its first heading', (markdown, title) => {
  expect(renderPage(markdown, { language: 'en' })).toContain(`<title>${title}</title>`)
})

test('the caller says which language the text is in', async () => {
  expect(await (await post('# ხაჭაპური', '?language=ka')).text()).toContain('<html lang="ka">')
  const response = await post('# a', '?language=%22%3E')
  expect(response.status).toBe(400)
  expect(await response.json()).toMatchObject({ field: 'language' })
})

test('headings of one name get anchors of their own', () => {
  expect(render('# A & b\n# A & b')).toBe('<h1 id="a--b">A &amp; b</h1>\n<h1 id="a--b-1">A &amp; b</h1>')
})

test.each([
  ['<script>alert(1)</script>', '<p>&lt;script&gt;alert(1)&lt;/script&gt;</p>'],
  [
    '<div onclick="x">\n**bold**\n</div>',
    '<p>&lt;div onclick=&quot;x&quot;&gt;\n<strong>bold</strong>\n&lt;/div&gt;</p>',
  ],
  ['a <code> <svg/onload=alert(1)> b', '<p>a &lt;code&gt; &lt;svg/onload=alert(1)&gt; b</p>'],
  ['[a](javascript:alert(1))', '<p>a</p>'],
  ['[a](JavaScript:alert(1))', '<p>a</p>'],
  ['[a](data:text/html,x) [b](vbscript:x)', '<p>a b</p>'],
  ['<javascript:alert(1)>', '<p>javascript:alert(1)</p>'],
  ['[a](&#106;avascript:alert(1))', '<p><a href="&amp;#106;avascript:alert(1)">a</a></p>'],
  ['![a](javascript:x) ![b](data:image/svg+xml,x)', '<p>a b</p>'],
  ['![a"b](c.png "d\'e")', '<p><img src="c.png" alt="a&quot;b" title="d&#39;e"></p>'],
  ['```a"><script>\nx\n```', '<pre><code class="language-a&quot;&gt;&lt;script&gt;">x\n</code></pre>'],
  ['[a](?b=1&amp;c=2) [d](#e)', '<p><a href="?b=1&amp;c=2">a</a> <a href="#e">d</a></p>'],
])('%j cannot run anything', (markdown, html) => {
  expect(render(markdown)).toBe(html)
})

test('whatever hostile pieces are put together, only known tags and harmless addresses come out', () => {
  const pieces = fc.constantFrom(
    ...[
      '<script>',
      '</script>',
      '<code>',
      '<pre>',
      '<svg/onload=x>',
      '<img src=x onerror=y>',
      '<!--',
      '-->',
      '<![CDATA[',
    ],
    ...[
      '[',
      ']',
      '(',
      ')',
      '![',
      '<',
      '>',
      '"',
      "'",
      '`',
      '```\n',
      '|',
      '|-|\n',
      '*',
      '_',
      '~~',
      '\\',
      '&',
      '&lt;',
      '&#60;',
    ],
    ...[
      'javascript:x',
      'JAVASCRIPT:x',
      '&#106;avascript:',
      'java\tscript:',
      ' data:text/html,x',
      'vbscript:x',
      '\u0001javascript:x',
    ],
    ...[
      'https://a.example/?b&c',
      'www.example.org',
      'a@b.example',
      '#x',
      '[r]: javascript:x "t"\n',
      '[r]',
      '[a](',
      ' "t")',
    ],
    ...['\n', '\n\n', '# ', '> ', '- ', '- [x] ', '1. ', '    ', ' ', 'word', '\u2028', '\0', '🧀'],
  )
  fc.assert(
    fc.property(fc.array(pieces, { maxLength: 40 }), (parts) => {
      for (const problem of findProblems(render(parts.join('')))) throw new Error(problem)
    }),
    { numRuns: 2_000, seed: 1 },
  )
})

const tag =
  /^<\/?(?:h[1-6]|p|a|em|strong|del|code|pre|blockquote|[ou]l|li|table|thead|tbody|tr|t[hd]|hr|br|img|input)((?: [a-z]+="[^"<>]*")*)>/
const attribute = / ([a-z]+)="([^"]*)"/g
const attributeNames = [
  'id',
  'href',
  'src',
  'alt',
  'title',
  'class',
  'align',
  'start',
  'checked',
  'disabled',
  'type',
]

/** Reads HTML as strictly as a wall should: what it does not know is a problem. */
function* findProblems(html: string): Iterable<string> {
  for (let at = html.indexOf('<'); at >= 0; at = html.indexOf('<', at + 1)) {
    const found = tag.exec(html.slice(at))
    if (found === null) {
      yield `an unknown tag: ${html.slice(at, at + 80)}`
      continue
    }
    for (const [, name = '', value = ''] of (found[1] ?? '').matchAll(attribute)) {
      if (!attributeNames.includes(name)) yield `an unknown attribute: ${found[0]}`
      if (name !== 'href' && name !== 'src') continue
      const address = value
        .replace(/&quot;/g, '"')
        .replace(/&lt;/g, '<')
        .replace(/&gt;/g, '>')
        .replace(/&#39;/g, "'")
      if (/&(?!amp;)/.test(address)) yield `a character reference in an address: ${found[0]}`
      const { protocol } = new URL(address.replace(/&amp;/g, '&'), url)
      if (!['http:', 'https:', 'mailto:'].includes(protocol)) yield `a dangerous address: ${found[0]}`
    }
  }
}

test.each([
  ['an empty body', '', 400, 'The file is empty.'],
  ['blanks only', ' \n\t\n', 400, 'The file is empty.'],
  ['bytes that are not UTF-8', new Uint8Array([0x23, 0x20, 0xff, 0xfe]), 400, 'The file is not UTF-8.'],
  ['more than 1 MiB', new Uint8Array(1024 * 1024 + 1), 413, 'The file has more than 1048576 bytes.'],
  ['an endless nesting', '>'.repeat(20_000), 422, 'The file is nested too deeply.'],
])('%s is refused with JSON', async (_, body, status, error) => {
  const response = await post(body)
  expect(response.status).toBe(status)
  expect(await response.json()).toMatchObject({ error, hint: expect.any(String) })
})

test('a form upload is refused, with the way to send the file itself', async () => {
  const form = new FormData()
  form.append('file', new Blob(['# Title']), 'sample.md')
  const response = await post(form)
  expect(response.status).toBe(415)
  expect(await response.json()).toMatchObject({ hint: expect.stringContaining('--data-binary') })
})

test('other paths and methods have their own status', async () => {
  expect((await program.fetch(new Request(`${url}x`))).status).toBe(404)
  const wrongMethod = await program.fetch(new Request(url, { method: 'PUT', body: '# a' }))
  expect([wrongMethod.status, wrongMethod.headers.get('allow')]).toEqual([405, 'GET, HEAD, POST'])
})
