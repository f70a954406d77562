// The least that a program can do, so that what is measured is the way to it and back.
const headers = { 'content-type': 'text/plain' }

export default {
  fetch: () => new Response('Hello, world!\n', { headers }),
}
