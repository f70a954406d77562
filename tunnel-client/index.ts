export {
  connectTunnel,
  type Tunnel,
  type TunnelDeps,
  type TunnelOptions,
  type TunnelState,
  type TunnelStatus,
} from './connect-tunnel.ts'
export { loopbackLookup } from './loopback-lookup.ts'
