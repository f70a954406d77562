import { defineCommand } from '../../command.ts'
import { gatewayOptions, readGatewaySettings } from '../../operate/gateway-settings.ts'

export const gatewayCheckConfig = defineCommand({
  usage: 'gateway check-config',
  details:
    'Reads the settings as "gateway up" would, with the same flags, variables and file, and says all that is wrong with\n' +
    'them. Nothing is started and nobody is asked. Use it before a reload: systemctl reload, or kill -HUP.',
  options: gatewayOptions,
  examples: [
    'gateway check-config --config gateway.json',
    'gateway check-config --config gateway.json --json',
  ],
  async run({ values }, context) {
    const { settings, dir, configPath } = await readGatewaySettings(values, context)
    context.print(
      [
        `The settings are good${configPath === undefined ? '' : `: ${configPath}`}.`,
        JSON.stringify({ ...settings, dir }, undefined, 2),
      ].join('\n'),
      { settings: { ...settings, dir }, configPath: configPath ?? null },
    )
  },
})
