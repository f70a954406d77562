/** The page's whole style: readable on a phone and on paper, light and dark, with no font to load. */
export const style = `
:root { color-scheme: light dark; --line: color-mix(in srgb, currentColor 20%, transparent); --tint: color-mix(in srgb, currentColor 7%, transparent) }
body { margin: 0; font: 17px/1.6 system-ui, sans-serif }
main { max-width: 44rem; margin: 0 auto; padding: 2rem 1.25rem 4rem; overflow-wrap: break-word }
h1, h2, h3, h4, h5, h6 { line-height: 1.25; margin: 2em 0 .6em }
h1 { margin-top: 0; font-size: 2.1rem }
h2 { padding-bottom: .25em; border-bottom: 1px solid var(--line) }
a { color: light-dark(#9a4b00, #f0a860) }
img { max-width: 100% }
code, pre { font: .88em/1.5 ui-monospace, monospace; background: var(--tint); border-radius: .3em }
code { padding: .15em .35em }
pre { padding: 1em; overflow-x: auto }
pre code { padding: 0; background: none; font-size: 1em }
blockquote { margin: 1em 0; padding: 0 1em; border-left: .25em solid var(--line) }
table { display: block; overflow-x: auto; border-collapse: collapse }
th, td { padding: .4em .8em; border: 1px solid var(--line) }
th { background: var(--tint) }
hr { border: 0; border-top: 1px solid var(--line); margin: 2em 0 }
li:has(> input[type=checkbox]), li:has(> p > input[type=checkbox]) { list-style: none; margin-left: -1.4em }
`
