/** What the dashboard loads beside itself: nothing of it comes from anywhere else. */

export const dashboardStyle = `:root{color-scheme:light dark;--line:#8883;--soft:#8881;--live:#0a7d33;--down:#c62828;--silent:#8a6d00}
@media(prefers-color-scheme:dark){:root{--live:#4cc276;--down:#ff7b72;--silent:#e0b341}}
body{font:15px/1.5 system-ui,sans-serif;max-width:76rem;margin:0 auto;padding:1rem}
header{display:flex;flex-wrap:wrap;gap:0 1.5rem;align-items:baseline;border-bottom:1px solid var(--line)}
h1{font-size:1.4rem;margin:.5rem 0}h2{font-size:1.1rem;margin:2rem 0 .5rem}
.wide{overflow-x:auto}table{border-collapse:collapse;width:100%;white-space:nowrap}
th,td{text-align:left;padding:.4rem .7rem;border-bottom:1px solid var(--line)}thead th{font-weight:600;background:var(--soft)}
.n{text-align:right;font-variant-numeric:tabular-nums}tbody th{font-weight:500}code,pre{font:.9em ui-monospace,monospace}
code{background:var(--soft);padding:.1em .3em;border-radius:.2em}td{max-width:16rem;overflow:hidden;text-overflow:ellipsis}
.state::before{content:"";display:inline-block;width:.6em;height:.6em;border-radius:50%;background:currentColor;margin-right:.4em}
.live{color:var(--live)}.down{color:var(--down)}.silent{color:var(--silent)}
form{display:flex;flex-wrap:wrap;gap:.7rem;align-items:end}label{display:flex;flex-direction:column;font-size:.85rem}
.long{flex:1 1 18rem}input,select,textarea,button{font:inherit;padding:.3rem .5rem}input[type=number]{width:5rem}
#result pre{white-space:pre-wrap;overflow-wrap:anywhere;max-height:20rem;overflow:auto;background:var(--soft);padding:.7rem}
.hidden{position:absolute;width:1px;height:1px;overflow:hidden;clip-path:inset(50%)}
:focus-visible{outline:2px solid currentColor;outline-offset:2px}
`

/** Puts text only into the page, and never markup: what came from strangers is text. */
export const dashboardScript = `'use strict'
const renewMs = 3000
const byId = (id) => document.getElementById(id)

async function renew() {
  try {
    const answer = await fetch('/_/dashboard', { headers: { accept: 'text/html' }, cache: 'no-store' })
    if (!answer.ok) throw new Error(String(answer.status))
    const page = new DOMParser().parseFromString(await answer.text(), 'text/html')
    const fresh = page.getElementById('live')
    const table = byId('live').querySelector('table')
    if (!fresh || !table) return
    // Only what changes is replaced, so that focus and scrolling stay.
    table.tBodies[0].replaceWith(document.adoptNode(fresh.querySelector('tbody')))
    byId('live').querySelector('p').replaceWith(document.adoptNode(fresh.querySelector('p')))
  } catch (error) {
    byId('live').querySelector('p').textContent = 'The gateway does not answer (' + error.message + '). What stands below is old.'
  } finally {
    setTimeout(renew, renewMs)
  }
}
setTimeout(renew, renewMs)

document.addEventListener('click', (event) => {
  const link = event.target.closest('[data-receipts]')
  if (link) byId('receipt').elements.provider.value = link.dataset.receipts
})

byId('receipt').addEventListener('submit', (event) => {
  event.preventDefault()
  const { provider, call } = event.target.elements
  location.assign(new URL(call.value, provider.value).href)
})

const element = (name, text, className) => {
  const made = document.createElement(name)
  made.textContent = text
  if (className) made.className = className
  return made
}

const wait = (ms) => new Promise((resolve) => setTimeout(resolve, ms))

/** The record may come from another process of the gateway. */
async function readRecord(id) {
  for (let attempt = 0; attempt < 10; attempt += 1) {
    const answer = await fetch('/_/swarms/' + id, { cache: 'no-store' })
    if (answer.ok) return answer.json()
    await wait(200)
  }
  return undefined
}

function showMembers(record) {
  const list = document.createElement('ul')
  for (const member of record.members) {
    const entry = element('li', member.name + ': ' + member.state + (member.code ? ' (' + member.code + ')' : '') + ' ')
    if (member.receipt && /^https?:/.test(member.receipt)) {
      const link = element('a', 'receipt')
      link.href = member.receipt
      entry.append(link)
    }
    list.append(entry)
  }
  return list
}

byId('swarm').addEventListener('submit', async (event) => {
  event.preventDefault()
  const form = event.target
  const { cid, path, method, n, k, timeout, pass, body } = form.elements
  const result = byId('result')
  const button = form.querySelector('button')
  button.disabled = true
  result.replaceChildren(element('p', 'Asking ' + n.value + ' providers…'))
  try {
    const headers = { 'khachapuri-swarm': 'n=' + n.value + ', k=' + k.value + ', timeout=' + timeout.value }
    if (pass.value) headers.authorization = 'Bearer ' + pass.value
    const hasBody = method.value !== 'GET' && body.value !== ''
    const answer = await fetch(form.dataset.any + cid.value + path.value, {
      method: method.value, headers, body: hasBody ? body.value : undefined, credentials: 'omit', cache: 'no-store',
    })
    const text = await answer.text()
    const verdict = answer.headers.get('khachapuri-verdict')
    const id = /swarm=(0x[0-9a-f]{64})/.exec(answer.headers.get('khachapuri-swarm') || '')
    const record = id ? await readRecord(id[1]) : undefined
    result.replaceChildren(element('p', 'Status ' + answer.status + (verdict ? ', ' + verdict : '')))
    if (record) result.append(showMembers(record))
    result.append(element('pre', text.slice(0, 65536)))
  } catch (error) {
    result.replaceChildren(element('p', 'No answer: ' + error.message, 'down'))
  } finally {
    button.disabled = false
  }
})
`
