export {
  connectTunnel,
  type Tunnel,
  type TunnelDeps,
  type TunnelOptions,
  type TunnelState,
  type TunnelStatus,
} from './connect-tunnel.ts'
export { connectTunnels } from './connect-tunnels.ts'
export {
  type ForwardedRequest,
  type ForwardOptions,
  forwardToService,
  type ServiceForwarder,
} from './forward-to-service.ts'
export { loopbackLookup } from './loopback-lookup.ts'
