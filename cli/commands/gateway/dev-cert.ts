import { join } from 'node:path'
import { makeDevCertificate } from '../../../gateway/tls/dev-certificate.ts'
import { parseName } from '../../../protocol/name.ts'
import { defineCommand, usageError } from '../../command.ts'
import { homeOf } from '../../files.ts'
import { resolvePath } from '../../project/packed-program.ts'

export const gatewayDevCert = defineCommand({
  usage: 'gateway dev-cert',
  details:
    'Makes a certificate authority for this machine, once, and a certificate of it for a gateway on localhost. Nothing is\n' +
    'installed: the output says how to trust it where you want to. The authority can sign for localhost and nothing else.\n' +
    'Most clients take no wildcard right below localhost, so name the providers; or give the gateway a host below it.',
  options: {
    domain: {
      type: 'string',
      value: '<host>',
      default: 'localhost',
      help: 'Host of the gateway: localhost, or one below it',
    },
    provider: {
      type: 'string',
      multiple: true,
      value: '<name>',
      help: 'A provider that callers will name',
    },
    dir: { type: 'string', value: '<dir>', help: 'Where the files go (default ~/.khachapuri/dev-cert)' },
  },
  examples: [
    'gateway dev-cert --provider alice --provider bob',
    'gateway dev-cert --domain market.localhost',
  ],
  async run({ values }, { clock, cwd, env, print }) {
    const domain = values.domain.toLowerCase()
    if (!/^(?:[a-z0-9-]{1,63}\.){0,4}localhost$/.test(domain)) {
      throw usageError(
        '--domain is not localhost and not below it.',
        'For other hosts take a certificate that all browsers trust: "khachapuri gateway up --acme".',
      )
    }
    const made = await makeDevCertificate(
      { clock },
      {
        dir: values.dir === undefined ? join(homeOf(env), 'dev-cert') : resolvePath(cwd, values.dir),
        domain,
        providers: ['any', ...(values.provider ?? []).map(parseName)],
      },
    )
    const { authorityFile, certFile, keyFile, hosts, validToMs, isAuthorityNew } = made
    const validTo = new Date(validToMs).toISOString()
    print(
      [
        `A certificate for ${domain} until ${validTo.slice(0, 10)}.`,
        `  certificate  ${certFile}`,
        `  key          ${keyFile}`,
        `  authority    ${authorityFile}${isAuthorityNew ? ' (new)' : ''}`,
        `  hosts        ${hosts.join(' ')}`,
        'Use it:',
        `  khachapuri gateway up --port 8443 --domain ${domain}:8443 --tls-cert ${certFile} --tls-key ${keyFile}`,
        'Trust it, one command at a time:',
        `  curl --cacert ${authorityFile} https://${domain}:8443/`,
        `  NODE_EXTRA_CA_CERTS=${authorityFile} khachapuri …`,
      ].join('\n'),
      { authorityFile, certFile, keyFile, hosts, validTo, isAuthorityNew },
    )
  },
})
