import { assert } from './base/assert.ts'
import { KiB, MiB } from './base/bytes.ts'

/** Every bound in the network, in one place. A queue, buffer, loop or wait without a line here is a bug. */
export const limits = {
  // HTTP
  headerBytesMax: 32 * KiB,
  targetBytesMax: 16 * KiB,
  headerTimeoutMs: 10_000,
  connectTimeoutMs: 5_000,
  firstByteTimeoutMs: 120_000,
  idleTimeoutMs: 300_000,
  problemBytesMax: 4 * KiB,
  /** To one provider or service; as many as a provider runs calls, and four times what one client may have in flight at a gateway. */
  connectionsPerUpstreamMax: 1_024,
  requestsWaitingPerUpstreamMax: 1024,
  /** For a whole request with its body. */
  requestTimeoutMs: 15 * 60_000,
  /** What a load balancer says before a connection, with what it adds for those who want to know; and how soon. */
  proxyHeaderBytesMax: 4 * KiB,
  proxyHeaderTimeoutMs: 5_000,
  /** In which a body that is read has to keep up with a gateway's slowest rate. */
  bodyPaceWindowMs: 10_000,
  bodyPaceIntervalMs: 1_000,
  listenerKeepAliveMs: 65_000,
  listenerConnectionsMax: 10_000,
  /** Connections that the kernel holds until the process takes them. */
  listenerBacklogMax: 512,
  /** Of one connection and direction, before who writes is told to wait: more than what one read of a socket gives. */
  socketBufferBytes: 128 * KiB,
  /** Of connections without a request, once a listener that leaves takes no more. */
  listenerLeaveIdleMs: 1_000,
  /** From one process of a gateway to another. */
  hopConnectionsMax: 1_024,
  gatewayWorkersMax: 64,
  workerStartTimeoutMs: 30_000,
  /** For what one has counted; and from the end of what it may still do to its own. */
  workerAnswerTimeoutMs: 2_000,
  workerStopMarginMs: 5_000,
  workerRestartDelayMs: 1_000,
  /** Between two words of one process to the others about what was taken of quotas. */
  workerSpendIntervalMs: 100,
  /** A handshake that takes longer is no caller's. */
  tlsHandshakeTimeoutMs: 10_000,
  /** Between two looks whether the files of a certificate have changed. */
  certificateLookIntervalMs: 5_000,
  tlsTicketKeysAgeMsMax: 24 * 60 * 60 * 1000,
  /** Between two looks whether another process has made new ones. */
  tlsTicketKeysLookIntervalMs: 60_000,
  /** One run of the operator's command that puts DNS records. */
  acmeHookTimeoutMs: 5 * 60_000,
  /** One order, from account to certificate. */
  acmeOrderTimeoutMs: 20 * 60_000,
  /** Between two looks at how an order stands, and how many. */
  acmePollDelayMsMin: 1_000,
  acmePollDelayMsMax: 15_000,
  acmePollsMax: 20,
  /** After an order that failed: authorities count failures by the hour. */
  acmeRetryDelayMsMin: 5 * 60_000,
  acmeRetryDelayMsMax: 12 * 60 * 60_000,
  acmeLookIntervalMs: 12 * 60 * 60_000,
  acmeHookWordsMax: 32,
  /** Certificates for domains of others: held in memory, orders at a time, how long a caller waits for one. */
  domainCertificatesCachedMax: 1_000,
  domainOrdersMax: 4,
  domainOrderPatienceMs: 8_000,
  /** After an order that failed, and how often at most by the operator's own setting. */
  domainOrderRetryDelayMsMin: 60 * 60_000,
  domainOrderRetryDelayMsMax: 24 * 60 * 60_000,
  domainOrdersPerHourDefault: 20,
  domainOrdersPerHourMax: 10_000,
  /** How long a further process of a gateway goes on with what the first one said of a domain's certificate. */
  domainCertificateHeardMs: 60_000,
  acmeProvidersMax: 64,
  /** How long a browser that has seen the gateway over TLS does without plain HTTP. */
  hstsSecondsDefault: 365 * 24 * 60 * 60,
  /** Requests at a time on one HTTP/2 connection. */
  h2StreamsMax: 128,
  /** Fields of one head, pseudo-headers included. */
  h2HeadersMax: 256,
  h2StreamWindowBytes: 1 * MiB,
  h2SessionWindowBytes: 4 * MiB,
  /** What Node keeps for one connection; beyond, it takes no more requests there. */
  h2SessionMemoryMiBMax: 16,
  /** A connection that has not answered a ping by the next one has gone. */
  h2PingIntervalMs: 30_000,
  /** Shorter than the 5 s after which Node servers close an idle connection. */
  upstreamKeepAliveMs: 4_000,
  /** Of a service behind a tunnel: some servers close idle connections after 2 s. */
  serviceKeepAliveMs: 1_000,
  providerPoolsMax: 2_000,
  /** What a caller may still send of a body that nobody wants any more. */
  unreadBodyBytesMax: 1 * MiB,
  chunkLineBytesMax: 256,
  informationalHeadsMax: 16,
  /** How long a server may be silent about a body that waits for `100 Continue`; many never say it. */
  continueTimeoutMs: 1_000,
  /** Connections to one provider that have left HTTP for WebSockets, beside those that carry requests. */
  webSocketsPerUpstreamMax: 1_024,
  /** From our end of a WebSocket to the end of its connection, for a caller that does not read the rest or close its own. */
  switchLingerMs: 10_000,

  // What a gateway remembers of strangers
  /** Clients, providers or deployments of one limit; twice as many within two windows. */
  limitKeysMax: 50_000,
  /** Addresses that need not be looked up in lists again. */
  limitClientsCachedMax: 10_000,
  contentKeysCachedMax: 10_000,
  /** Keys of which the others are still to be told that they spent something; and how many are told at once. */
  spendKeysMax: 4_096,
  spendsToldMax: 256,
  spendKeyCharsMax: 256,
  spendTokensMax: 1_000_000_000,
  /** How far the others' spending can empty a bucket beyond empty, in windows. */
  quotaDebtWindowsMax: 16,

  // Traces of a gateway
  otlpSpansWaitingMax: 2_048,
  otlpIntervalMs: 2_000,
  otlpTimeoutMs: 5_000,

  // A call
  requestBodyBytesMax: 100 * MiB,
  responseBodyBytesMax: 100 * MiB,
  /** Of a program's answer: with what provider and gateway add it fits a head, and as JSON a frame. */
  answerHeaderBytesMax: 24 * KiB,
  callTimeoutMsDefault: 10_000,
  callTimeoutMsMax: 300_000,
  /** A WebSocket is one call: so long in all, and so long without a byte in either direction. */
  webSocketMsMax: 300_000,
  webSocketIdleMsMax: 120_000,
  callsInFlightPerInstanceMax: 512,
  /** Those that wait for a place included. */
  callsInFlightPerProviderMax: 1024 + 256,
  callsRunningPerProviderMax: 1024,
  /** For a place; of all payers and of one. */
  callsWaitingMax: 256,
  callsWaitingPerPayerMax: 32,
  callWaitMsMax: 5_000,
  busyRetryAfterSeconds: 1,
  stoppingRetryAfterSeconds: 10,
  idempotencyKeyBytesMax: 255,
  idempotentRequestBytesMax: 8 * MiB,
  /** Of all calls together: each is held from its first byte to the end of its call. */
  idempotentBodiesBytesMax: 256 * MiB,
  idempotentAnswerBytesMax: 1 * MiB,
  idempotentAnswerAgeMsMax: 24 * 60 * 60 * 1000,
  idempotentAnswersBytesMax: 1024 * MiB,
  /** What a provider keeps of calls to run them again: for how long a deployment may ask, of one call, and of all together. */
  callRecordSecondsMin: 60,
  callRecordSecondsMax: 90 * 24 * 60 * 60,
  callRecordBodyBytesMax: 256 * KiB,
  callRecordsBytesMax: 1024 * MiB,
  callRecordsPruneIntervalMs: 60_000,

  // A program in its sandbox
  programStartTimeoutMs: 5_000,
  programMemoryMiBDefault: 128,
  programMemoryMiBMax: 512,
  /** What workerd itself needs beside the program. */
  runtimeMemoryMiB: 48,
  programPidsMax: 64,
  /** What a program sends in one turn of its provider's event loop before others have theirs. */
  programBytesPerTurnMax: 256 * KiB,
  /** How long it sends nothing after as much, where other programs have calls: some 90 MiB in a second are left to it. */
  programPouringRestMs: 3,
  /** A program that sends more has so much less of a busy processor than others, for as long at least. */
  programBytesPerSecondFull: 16 * MiB,
  programPouringWeightPercent: 6,
  programWeightMsMin: 500,
  /** What gVisor has beside a native program: its own kernel, and a process for each of the program's threads. */
  gvisorMemoryMiB: 96,
  gvisorPidsMax: 448,
  /** 100 is one core. */
  programCpuPercentMax: 100,
  /** How often running calls are looked at; a limit of time may be overdrawn by as much. */
  watchdogIntervalMs: 50,
  /** How soon a program whose call is late must show that it still answers. */
  programPingTimeoutMs: 500,
  /** From the end of a process's sockets to the end of the process. */
  programDeathMsMax: 250,
  /** Less than the 5 s after which workerd closes a connection that nobody uses. */
  programKeepAliveMs: 4_000,
  programOutputBytesPerSecondMax: 1 * MiB,
  /** So often a program may die and be started again at once; from the next time on it rests, twice as long each time. */
  programDeathsFreeMax: 2,
  programRestMsMin: 500,
  programRestSecondsDefault: 30,
  programRestSecondsMax: 300,
  /** A program that lives for as long after its rest, or answers as many calls, begins anew. */
  programQuietMsMin: 10_000,
  programCallsWellMin: 20,
  programDeathsKeptMax: 1_000,
  /** How long callers wait for what died to be gone, before it is known whether it may be started again. */
  programGoneMsMax: 2_000,
  /** Idle ones included; their memory is the operator’s `--capacity`. */
  instancesMax: 256,
  instanceIdleMsMax: 5 * 60_000,
  zygotesMax: 4,
  /** From the start of a program in one that waited to the start of the next one that waits. */
  zygoteRestMs: 50,
  faultMessageBytesMax: 1 * KiB,
  /** For the attacks of a provider on its own walls; what takes longer has proved nothing. */
  selfTestMsMax: 20_000,
  /** A native program's `/tmp`, which counts as its memory, too. */
  nativeTmpBytesMax: 64 * MiB,
  /** Processes of one CGI program at a time; other calls wait for their turn, up to as long. */
  cgiProcessesMax: 16,
  cgiQueueMsMax: 10_000,
  /** Sandboxes that wait for the next call of one CGI program. */
  cgiZygotesMax: 2,
  /** From asking a native server to stop until it is ended. */
  programStopMsMax: 2_000,
  /** Between two looks whether a native server listens. */
  programReadyPollMsMax: 20,
  /** Between two tries to connect to one whose queue is full. */
  programConnectPollMsMax: 64,

  // What a program reaches
  egressOriginBytesMax: 255,
  /** Of one call; calls that run together use what they have together. */
  egressRequestsPerCallMax: 50,
  egressSentBytesPerCallMax: 16 * MiB,
  egressReceivedBytesPerCallMax: 64 * MiB,
  /** Of one program at a time, tunnels included. */
  egressRequestsInFlightMax: 32,
  /** Of one program, those that are kept for its next request included. */
  egressConnectionsMax: 64,
  egressOriginsKeptMax: 64,
  /** For a request with its answer, or a tunnel: none lasts longer than the longest call. */
  egressExchangeMsMax: 300_000,
  egressFirstByteTimeoutMs: 60_000,
  egressIdleTimeoutMs: 60_000,
  /** Of one try; there are two. */
  egressLookupTimeoutMs: 1_500,

  // Content
  cidBytesMax: 128,
  blockBytesMax: 2 * MiB,
  carHeaderBytesMax: 4 * KiB,
  carBytesMax: 64 * MiB,
  dagBlocksMax: 10_000,
  dagEdgesMax: 100_000,
  dagDepthMax: 32,
  contentFetchTimeoutMs: 60_000,
  contentHeadersTimeoutMs: 5_000,
  contentStallTimeoutMs: 10_000,
  /** How long peers may be silent about content before they are taken not to have it: a mistyped CID waits as long. */
  contentPeerTimeoutMs: 5_000,
  /** How long one source may try before the next one is asked as well. */
  contentRaceDelayMs: 1_000,
  /** At keepers, at a time. */
  contentFetchesMax: 8,
  /** At peers; a fetch that waits for them costs next to nothing. */
  contentPeerFetchesMax: 64,
  keeperOwnerBytesMax: 1024 * MiB,
  keeperTotalBytesMax: 20 * 1024 * MiB,
  uploadsPerOwnerMax: 2,
  uploadAuthorizationBytesMax: 2 * KiB,
  uploadAuthorizationAgeSecondsMax: 300,
  uploadTimeoutMs: 300_000,
  keeperAnswerBytesMax: 16 * KiB,
  keeperPinAgeMsDefault: 365 * 24 * 60 * 60 * 1000,
  /** How long content that nobody pins stays, so that a slow deploy does not lose what it just sent. */
  keeperCollectIntervalMs: 60 * 60 * 1000,
  keeperGraceMs: 24 * 60 * 60 * 1000,

  // A program's zip
  zipBytesMax: 50 * MiB,
  zipUnpackedBytesMax: 250 * MiB,
  zipEntriesMax: 5_000,
  zipRatioMax: 100,
  zipNameBytesMax: 255,
  zipPathBytesMax: 1024,
  zipPathDepthMax: 32,

  // A deployment
  specBytesMax: 256 * KiB,
  sealedSpecBytesMax: 512 * KiB,
  paramsBytesMax: 64 * KiB,
  envBytesMax: 128 * KiB,
  envEntriesMax: 512,
  deploymentsCachedMax: 1_000,
  /** That are fetched and verified at a time, those that wait for peers included. */
  deploymentsLoadingMax: 128,
  specProvidersMax: 16,
  specOriginsMax: 64,
  jsonDepthMax: 32,

  // Failures
  /** In the name of one payer: signatures that are wrong. Beyond this, what is not known yet in this name must wait. */
  failuresPerPayerPerSecondMax: 10,
  /** From one place of the network; and from all that one other end of a connection speaks for. */
  failuresPerSourcePerSecondMax: 10,
  failuresPerPeerPerSecondMax: 25,
  /** Payers whose failures are counted, and payers who have shown that they are worth work. */
  payersWatchedMax: 10_000,
  provenPayersMax: 10_000,
  /** Calls whose program failed, so that their payer owes nothing; as many at once. Calls in flight may pass it, once. */
  unpaidRunsPerPayerPerMinuteMax: 60,
  unpaidRunsPerDeploymentPerMinuteMax: 300,
  /** New passes and vouchers of a payer that were good and paid for nothing yet: whatever its means, and at most. */
  idleChecksPerPayerPerMinuteMin: 10,
  idleChecksPerPayerPerMinuteMax: 300,

  // A provider's own rules
  /** Of each list. */
  policyEntriesMax: 10_000,
  policyItemsPerOrderMax: 1_000,
  policyReasonCharsMax: 200,
  policyOrderBytesMax: 256 * KiB,
  policyAnswerBytesMax: 8 * MiB,
  /** One small program with its runtime. */
  capacityMiBMin: 64,
  /** Deployments whose faults are counted. */
  faultRatesKeptMax: 10_000,

  // Accounts that are contracts (ERC-1271)
  /** A contract's word is a stranger's code at work, on the RPC server. */
  contractSignatureGasMax: 1_000_000n,
  /** Then it is asked again, while its last word still counts. */
  contractSignatureAgeMsMax: 60_000,
  /** Whether an account has code at all. */
  contractCodeAgeMsMax: 10 * 60_000,
  contractsKnownMax: 10_000,

  // Passes
  passBytesMax: 4 * KiB,
  passProvidersMax: 16,
  passesCachedMax: 10_000,
  /** Signatures that fail cost 1.4 ms each; beyond this, tokens that are not known yet must wait. */
  passFailuresPerSecondMax: 50,

  /** A signature of a contract may be longer than one of a key. */
  passRevocationBytesMax: 4 * KiB,
  /** That have not ended. Each is kept in memory and on disk. */
  passRevocationsPerPayerMax: 1_000,
  passRevocationsPerPayerPerMinuteMax: 100,

  // Statements
  statementRequestBytesMax: 4 * KiB,
  /** A request that is read on its way shows the same books to whoever has it, for so long. */
  statementRequestAgeSecondsMax: 300,
  statementRequestsCachedMax: 10_000,
  statementRequestFailuresPerSecondMax: 50,
  /** Lanes, receipts or passes of one page: a millisecond of the journal's thread, and a bounded answer. */
  statementPageEntriesMax: 250,
  statementPageBytesMax: 512 * KiB,
  /** Each may hash all receipts of a settlement. */
  proofPagesAtOnceMax: 4,
  /** Lanes or passes of one provider that a command keeps in memory. */
  statementEntriesKeptMax: 100_000,
  /** Calls of one account at one provider that a command tells apart: some 40 bytes of memory each. */
  statementCallsMax: 10_000_000,

  // What owners read of their deployments
  programLogLineCharsMax: 4 * KiB,
  programLogPathCharsMax: 512,
  programLogPageEntriesMax: 250,
  programLogPageBytesMax: 4 * MiB,
  /** For one page, whatever is searched for: a millisecond or two of the calls' thread. */
  programLogLookedAtMax: 1_000,
  /** From an entry to the disk: owners follow their logs less than 2 s behind. */
  programLogDelayMs: 200,
  programLogAgeMsMax: 7 * 24 * 60 * 60 * 1000,
  /** Of one deployment, and of all. */
  programLogBytesMax: 4 * MiB,
  programLogBytesTotalMax: 512 * MiB,
  programLogEntriesPerSecondMax: 200,
  /** Deployments whose rate is watched. */
  programLogRatesKeptMax: 10_000,
  /** Entries of all deployments that are not on disk yet. */
  programLogWaitingMax: 10_000,
  programLogSearchCharsMax: 200,
  /** How often "khachapuri logs -f" asks. */
  programLogPollMs: 1_000,

  // Vouchers
  voucherBytesMax: 1 * KiB,
  /** A voucher and its access. */
  voucherTokenBytesMax: 1 * KiB + 128,
  /** Vouchers of one header, each for another provider. */
  voucherSetMax: 16,
  vouchersCachedMax: 10_000,
  voucherFailuresPerSecondMax: 50,
  /** Calls that one voucher covers, where a client does not say otherwise. */
  voucherWindowCallsDefault: 100,
  /** How long a call may still be charged whose end its caller has not seen. */
  voucherDoubtMs: 10 * 60_000,
  /** Calls of one session whose end is not known. */
  voucherCallsOpenMax: 1024,
  /** How often one call may be sent anew, each time with a better voucher. */
  voucherAttemptsMax: 4,

  // x402
  x402HeaderBytesMax: 8 * KiB,
  x402UrlBytesMax: 2 * KiB,
  /** A contract may take more than the 65 bytes of a key. */
  x402SignatureBytesMax: 2 * KiB,
  /** How long an answer waits to see its payment in a block, before it goes out with the payment pending. */
  x402SettleWaitMs: 30_000,
  /** How long a payment must still be valid after the longest time that its call may take. */
  x402SettleMarginSeconds: 300,
  /** Between signing and arriving, and for clocks that differ. */
  x402SlackSeconds: 60,
  /** A payment that is valid for longer would have to be remembered for longer. */
  x402WindowSecondsMax: 24 * 60 * 60,
  /** Whose calls run or whose settlement is not known yet. */
  x402PaymentsOpenMax: 1_000,

  /**
   * Looks at the chain that were for nothing: for payers who have paid nothing yet, and for all others. Each is up to three
   * RPC requests.
   */
  x402LooksLostPerSecondMax: 50,
  x402LooksLostPerPayerPerSecondMax: 5,
  x402LooksLostPerSourcePerSecondMax: 5,
  /** How long a wallet counts as holding too little, before the chain is asked once more. */
  x402LowWalletAgeMsMax: 2_000,
  /** Of a payer's contract, which is a stranger's code: to say whether it signed, and to be paid by. */
  x402ContractGasMax: 1_000_000n,

  // Ledger
  /** One fsync for at most so many calls. */
  ledgerGroupRecordsMax: 512,
  /** Receipts of calls that cost nothing, about 400 bytes each: of one payer, in all, and for how long. */
  unpaidReceiptsPerPayerMax: 10_000,
  unpaidReceiptsMax: 1_000_000,
  unpaidReceiptAgeMsMax: 30 * 24 * 60 * 60 * 1000,
  /** Receipts of calls that were charged, once they are settled: as long as a statement can be asked for. */
  receiptAgeMsMax: 400 * 24 * 60 * 60 * 1000,
  receiptsPrunedAtOnceMax: 1_024,

  // Grants
  /** A call must not start so late that it would end after the grant. */
  grantExpiryMarginSeconds: 5,
  settleRowsMax: 1000,
  redeemRowsMax: 1000,
  /** Of one usage root; the rest goes into the next batch. */
  settleReceiptsMax: 100_000,

  // Tunnel
  frameBytesMax: 64 * KiB,
  tunnelMessageBytesMax: 1 * MiB,
  streamWindowBytesMin: 256 * KiB,
  streamWindowBytesMax: 16 * MiB,
  /** A window grows to this for a reader that takes all of it in so long, however short the way is. */
  streamWindowBytesNear: 1 * MiB,
  streamWindowNearMs: 100,
  tunnelBufferBytesMax: 512 * KiB,
  streamsPerTunnelMax: 1024,
  tunnelsMax: 10_000,
  /** Of one process, and of all replicas of a provider. */
  tunnelSocketsPerProcessMax: 8,
  /** That one provider dials; more need a cluster. */
  gatewaysPerTunnelMax: 8,
  /** Between two looks which gateways there are. */
  gatewaysLookIntervalMs: 30_000,
  /** After one was lost; it grows by a quarter each time. */
  gatewaysLookIntervalMsMin: 250,
  gatewayListBytesMax: 64 * KiB,

  // Presence of providers
  announcementBytesMax: 4 * KiB,
  /** Between two words of a provider to a gateway; after one that was not taken, soon again. */
  announceIntervalMs: 4_000,
  announceRetryMs: 1_000,
  announceTimeoutMs: 5_000,
  /** How long a provider that goes waits until a gateway has heard it. */
  announceGoneTimeoutMs: 1_000,
  /** Gateways that one provider tells. */
  announceGatewaysMax: 8,
  /** A provider that has said nothing for this long is gone. */
  announcementSilenceMsMax: 14_000,
  pingBytesMax: 4 * KiB,
  didBytesMax: 16 * KiB,
  /** For how long a document holds; it is signed anew before that, and whenever something changed. */
  didValidSeconds: 24 * 60 * 60,
  didResignMs: 60 * 60_000,
  didDocumentsKeptMax: 16,
  /** How far the clocks of provider and gateway may differ. */
  announcementSkewMsMax: 60_000,
  /** Providers that a gateway remembers, those that have gone included. */
  announcedProvidersMax: 10_000,
  announcementsPerProviderPerMinuteMax: 60,
  /** Between two readings of a name that is not the announcing account's, as far as the gateway knows. */
  announcedNameRereadMs: 2_000,

  // A cluster of gateways
  /** Between two signs of life, and how long one may be silent before others do without it. */
  clusterHeartbeatMs: 300,
  clusterSilenceMsMax: 1_500,
  /** Between two looks whose tunnels are here. */
  clusterTellIntervalMs: 100,
  /** Between two words about what was taken of quotas, and the size of one. */
  clusterSpendIntervalMs: 500,
  clusterSpendBytesMax: 256 * KiB,
  /** Of what another gateway says; a deny list is the longest. */
  clusterValueBytesMax: 8 * MiB,
  /** Until what a silent gateway has left behind is taken away. */
  clusterForgetMs: 10 * 60_000,
  /** Processes of gateways, and whose tunnels are where, that one of them remembers. */
  clusterMembersMax: 1_024,
  clusterRoutesMax: 200_000,
  /** Between two looks for marks of what was taken away, how old they have to be, and how many go at once. */
  clusterPurgeIntervalMs: 10 * 60_000,
  clusterMarkAgeMs: 60 * 60_000,
  clusterMarksPurgedMax: 1_000,
  clusterPurgeTimeoutMs: 5_000,
  clusterHomesDefault: 2,
  connectionsPerHopMax: 1_024,
  /** How long the proof that a request comes from another gateway holds, and how far their clocks may differ. */
  hopAgeMsMax: 60_000,

  tunnelSocketsPerProviderMax: 32,
  tunnelSocketsDefault: 2,
  /** Between two looks at a status line, and how many answers its latency is made of. */
  tunnelStatusIntervalMs: 1_000,
  tunnelLatenciesMax: 100,
  tunnelPingIntervalMs: 20_000,
  tunnelPingsLostMax: 2,
  /** Until it is said that a request was taken, which takes one or two of these; an answer says it, too. */
  tunnelAcceptTickMs: 5,
  /** Between two looks at what is there. */
  tunnelTickMs: 1_000,
  /** With a request in flight: until a ping, and from there until the connection is given up. */
  tunnelSilenceMs: 5_000,
  /** Wall time that goes by between two looks when a machine sleeps, and what its connections have to answer then. */
  tunnelSleptMsMin: 5_000,
  tunnelWakeTimeoutMs: 2_000,
  tunnelHandshakeTimeoutMs: 10_000,
  /** Of a connection, so that the next wait is the shortest again: `hasStood`. */
  tunnelUptimeToResetMs: 5_000,
  tunnelUptimeMsMin: 250,
  tunnelUptimePerWait: 10,
  tunnelDelayMsMin: 10,
  tunnelDelayMsMax: 60_000,
  /** A gateway that cannot be reached may be restarting: for so long the wait stays so short. */
  tunnelRestartDelayMsMax: 2_000,
  tunnelRestartMsMax: 5 * 60_000,
  tunnelTicketAgeSecondsMax: 3_600,
  /** How long the gateway holds a request for a tunnel that has just gone. */
  tunnelParkMsMax: 2_000,
  /** What is kept of a request's body, in case it must be sent again through another socket. */
  tunnelReplayBytesMax: 64 * KiB,
  tunnelAttemptsMax: 4,
  /** From here on a stream goes on by a lane: a connection that is used for nothing else. So many of one process. */
  tunnelLaneBytesMin: 1 * MiB,
  tunnelLanesMax: 4,
  /** Until one that carries nothing is closed, and until one that was asked for is asked for again. */
  tunnelLaneIdleMs: 60_000,
  tunnelLaneAskMs: 10_000,
  /** Turns of one stream while others wait, and frames that go out as one message. */
  tunnelSliceBytesMax: 32 * KiB,
  tunnelBatchBytesMax: 64 * KiB,
  /** Per socket: growth of all windows beyond their smallest size, and bytes that wait for slow readers. */
  tunnelWindowBytesMax: 48 * MiB,
  tunnelQueuedBytesMax: 64 * MiB,
  /** Per stream: what a writer may pile up before it is told to wait. */
  streamQueueBytesMax: 128 * KiB,
  /** Frames that wait for a peer which does not read; more ends the tunnel. */
  tunnelControlFramesMax: 8192,
  tunnelHandshakeBytesMax: 8 * KiB,
  /** Under way at a time: in all, and of one client address. */
  tunnelHandshakesMax: 1024,
  tunnelHandshakesPendingPerAddressMax: 32,
  /** Per client address and window, before any signature is checked. */
  tunnelHandshakesPerAddressMax: 64,
  tunnelHandshakeWindowMs: 10_000,
  tunnelProofAgeSecondsMax: 300,
  /** Lost sockets whose requests a tunnel client remembers, so that it takes none of them twice. */
  tunnelsRememberedMax: 64,

  // Names
  nameBytesMax: 63,
  namesCachedMax: 10_000,
  /** `Host` headers that need not be read again. */
  hostsCachedMax: 20_000,
  nameAgeMsMax: 60_000,
  nameNegativeAgeMsMax: 5_000,
  nameReadsMax: 64,
  /** Between a running provider's looks at when its name ends. */
  nameLookIntervalMs: 6 * 60 * 60 * 1000,
  /** Between two looks for changed names; each is one small question while there is no new block. */
  nameWatchIntervalMs: 500,
  /** Of the text that lists who serves a deployment's name. */
  nameProvidersBytesMax: 2 * KiB,
  nameProvidersMax: 16,
  resolversWatchedMax: 10_000,
  /** What RPC servers take in one question for events. */
  logAddressesMax: 1_000,
  serverUrlBytesMax: 512,
  publicKeyBytesMax: 1 * KiB,
  /** How long a retired key still opens what was sealed for it. */
  sealKeyGraceMs: 90 * 24 * 60 * 60 * 1000,

  // Custom domains
  domainRecordBytesMax: 512,
  domainsCachedMax: 10_000,
  domainAgeMs: 60_000,
  domainUnknownAgeMs: 10_000,
  domainLooksMax: 64,
  domainLookupTimeoutMs: 2_000,

  // Choosing among the providers of a deployment
  /** Failures in a row after which a provider gets no calls for a while: at first, and after many breaks. */
  routeFailuresToBreak: 3,
  routeBreakMsMin: 1_000,
  routeBreakMsMax: 30_000,
  /** From a recovery until a provider gets its share again. */
  routeSlowStartMs: 10_000,
  routeLatencyHalfLifeMs: 5_000,
  routeHealthKeptMax: 10_000,
  /** Providers that one call is tried with. */
  routeAttemptsMax: 4,
  /** A body up to here is read whole before a provider is chosen, so that another one can have it. */
  routeReplayBytesMax: 64 * KiB,
  /** How far apart the same call may have begun at two providers, whose clocks differ. */
  attemptWindowMs: 60_000,
  /** For how long a provider that refused a deployment is asked last. */
  routeRefusalMs: 30_000,
  routeRefusalsKeptMax: 10_000,
  /** Between two questions to a provider how it is; for how long it is asked after the last call that it could have had. */
  routeProbeIntervalMs: 5_000,
  routeProbeTimeoutMs: 3_000,
  routeProbeWantedMs: 60_000,
  routeProbesAtOnceMax: 16,
  routeProbesMax: 512,
  /** Reputations: a weight that has half of what there is to gain, and what newcomers are taken to have earned to everybody's content. */
  routeTrustWeight: 10_000,
  routeContentUsdc: 1_000_000n,
  /** Votes in swarms: how fast they fade, how many won ones count, of how many deployments lost ones are told apart. */
  routeVoteHalfLifeMs: 60 * 60_000,
  routeWonVotesMax: 20,
  routeLostVotesKeptMax: 32,
  /** For how long one gets no calls that showed another answer than it had voted for. */
  routeCheatMs: 60 * 60_000,
  /** What is read of the chain for it: how often, of whom, how far back, and how much at a time. */
  routeReputationIntervalMs: 15_000,
  routeReputationWantedMs: 10 * 60_000,
  routeReputationsMax: 512,
  routeReputationsAtOnceMax: 16,
  routeReputationBlocksMax: 200_000,
  routeReputationBlocksAtOnceMax: 20_000,
  routeReputationPayersMax: 10_000,
  /** For `any.<gateway>`: who may run a deployment, by its spec. */
  routeSpecsKeptMax: 10_000,
  routeSpecFetchMs: 5_000,
  routeSpecFetchesMax: 32,
  routeSpecUnknownMs: 5_000,
  /** How many of those who may run a deployment are considered for one call. */
  routeCandidatesMax: 64,

  // Swarms
  /** With a vote and a receipt for each, the head of an answer stays below `headerBytesMax`. */
  swarmMembersMax: 16,
  /** Each member gets all of it. */
  swarmRequestBytesMax: 1 * MiB,
  swarmTimeoutMsDefault: 3_000,
  swarmTimeoutMsMax: 60_000,
  /** From the count of the votes until a member has shown its answer, or its receipt. */
  swarmRevealMsMax: 4_000,
  /** What a gateway tells of swarms that it ran: so many of the last ones, for so long. */
  swarmRecordsMax: 500,
  swarmRecordAgeMs: 60 * 60_000,
  /** Providers whose calls a gateway counts for its dashboard, and that it shows. */
  dashboardProvidersMax: 1_000,
  /** Members are drawn with the hash of a block whose number is a multiple of it. */
  swarmSeedBlocks: 8,
  /** What was read of the chain for that: how long the head counts as new, and of how many blocks the hashes are kept. */
  swarmHeadAgeMsMax: 500,
  swarmBlockAgeMsMax: 10_000,
  swarmBlocksKnownMax: 64,
  swarmKeysKnownMax: 1_000,
  /** Of an answer that is compared: it is held whole until enough have voted alike. */
  ballotAnswerBytesMax: 1 * MiB,
  /** Answers that one provider holds so, and for how long after the swarm's own time is over. */
  ballotsHeldMax: 1_000,
  ballotsHeldBytesMax: 128 * MiB,
  ballotGraceMs: 5_000,
  /** Of what shows the votes. */
  ballotProofBytesMax: 32 * KiB,
  /** Headers and fields that a deployment names. */
  compareEntriesMax: 16,

  /** Methods of a program with typed params, and what stands in its manifest about them. */
  activationsMax: 64,
  activationParamsMax: 16,
  activationNameCharsMax: 64,
  activationTextCharsMax: 500,
  activationChoicesMax: 64,
  /** Of all params of one call, as JSON. */
  activationBodyBytesMax: 64 * KiB,
  /** What one call may have signed: how often, and how much at a time. One takes 15 ms of the thread that signs for all. */
  attestationsPerCallMax: 64,
  attestMessageBytesMax: 16 * KiB,
  /** Messages that wait for that thread, in all and of one program. */
  attestWaitingMax: 1_024,
  attestWaitingPerProgramMax: 256,
  /** Connections of one program to where it asks for signatures. */
  attestConnectionsMax: 512,
  /** Of one attestation in one signature. */
  attestationKeysMax: 1_000,
  /** The file of an attestation, with the keys of those who signed it. */
  attestationFileBytesMax: 512 * KiB,

  /** How late a provider answers that was told to be slow. */
  faultSlowMs: 60_000,

  // Chain
  rpcTimeoutMs: 10_000,
  /** Of a transaction that proves a settlement: rows for as many payers as fit one. */
  settlementBytesMax: 128 * KiB,
  /** Between two looks for a proof of what the chain is said to have paid; twice as long each time. */
  proofDelayMsMin: 5_000,
  proofDelayMsMax: 10 * 60_000,
  /** Grants of which the chain says more than the books, and that are told of. */
  disputesMax: 1_000,
  /** Files, bytes and receipts by which a reputation is judged: what is more is refused whole, or two would count two parts. */
  evidenceFilesMax: 100_000,
  evidenceBytesMax: 512 * MiB,
  evidenceReceiptsMax: 250_000,
  /** Fraud reports that are run again for one reputation. */
  evidenceReplaysMax: 100,
  /** Of a list of RPC servers. */
  rpcUrlsBytesMax: 8 * KiB,
  /** All events of one provider in `logRangeBlocksMax` blocks fit in many times over. */
  rpcAnswerBytesMax: 32 * MiB,
  /** Between two looks at which of several RPC servers are behind the others. */
  rpcCheckIntervalMs: 5_000,
  /** The same while one of them did not answer. */
  rpcRecheckIntervalMs: 500,
  /** Blocks take a moment to get around. */
  rpcLagBlocksMax: 4,
  /** Chains that make blocks by themselves have a new safe one sooner; a server without is stuck, or its chain is. */
  headStillMsMax: 30 * 60_000,
  /** A look that takes longer tells nothing until it has ended. */
  mirrorLookMsMax: 60_000,
  logRangeBlocksMax: 5_000,
  /** How many looks back the mirror can undo before it must read all events again. */
  mirrorCheckpointsMax: 256,
  /** No chain takes a transaction that may use more (EIP-7825). */
  transactionGasMax: 2n ** 24n,
  /** Without a place in any block, before a transaction offers more for gas. */
  transactionStallMs: 60_000,
  /** With one nonce, each an eighth dearer: ten times the first offer. */
  transactionAttemptsMax: 20,
  mirrorIntervalMs: 2_000,
  /** How often a chain is asked what time it is, where something waits for it. */
  chainTimeIntervalMs: 2_000,
  settleIntervalMs: 60_000,
  /** What a settlement takes, and each payer in it; only for the question whether it is worth its gas. */
  settleGas: 31_000,
  settleRowGas: 8_000,
  /** Nothing should be owed for longer without somebody being told. */
  unsettledAgeAlarmMs: 60 * 60_000,
  settleRetryDelayMsMin: 500,
  settleRetryDelayMsMax: 60_000,
  /** Before a grant's last moment to settle. */
  settleMarginMs: 10 * 60_000,
  shutdownTimeoutMs: 30_000,
  exampleDeployTimeoutMs: 60_000,

  // Command line
  /** What the systems' `sun_path` holds, its end left out. */
  socketPathBytesMax: 103,
  stdinSecretBytesMax: 4 * KiB,
  manifestBytesMax: 64 * KiB,
  keystoreFileBytesMax: 64 * KiB,
  stateFileBytesMax: 1 * MiB,
  /** Of one market; those that ended a month ago are forgotten. */
  passRecordsMax: 1_000,
  passRecordsBytesMax: 16 * MiB,
  /** Deploys of one program that are remembered, in one market and for one owner; in one file, the oldest go first. */
  versionsKeptMax: 100,
  versionsFileBytesMax: 16 * MiB,
  versionMessageCharsMax: 200,
  /** Source maps of what was deployed, for its log: of one program, and how many are kept. */
  bundleMapBytesMax: 16 * MiB,
  bundleMapsKeptMax: 50,
  secretsFileBytesMax: 1 * MiB,
  /** For how long nothing may change before "khachapuri dev" builds, and how long it waits for that. */
  devQuietMs: 50,
  devSettleMsMax: 2_000,
  benchConnectionsMax: 1_000,
  benchDurationSecondsMax: 3_600,
  benchCallsMax: 100_000_000,
  /** Of calls that cost money, where no other number was given. */
  benchPaidCallsDefault: 1_000,
  /** For a gateway to follow a name that was pointed elsewhere, and between two looks. */
  nameFollowWaitMs: 5_000,
  nameFollowPollMs: 100,
  /** For another command that has a file of the user's under its lock. */
  stateLockWaitMs: 10_000,
  stateLockPollMs: 20,
} as const

// The design depends on these; the process does not start if an edit breaks one.
assert(
  limits.callsRunningPerProviderMax + limits.callsWaitingMax <= limits.callsInFlightPerProviderMax,
  'who waits for a place does not take that of one who could run',
)
assert(
  limits.callRecordBodyBytesMax * 1.4 + 2 * limits.headerBytesMax <= limits.statementPageBytesMax,
  'the record of a call fits a page',
)
assert(
  limits.connectionsPerUpstreamMax >= limits.callsRunningPerProviderMax,
  'a gateway has connections for as many calls as a provider runs',
)
assert(limits.callTimeoutMsDefault <= limits.callTimeoutMsMax, 'the default call fits the longest call')
assert(
  limits.answerHeaderBytesMax + 4 * KiB <= limits.headerBytesMax &&
    2 * limits.answerHeaderBytesMax + 8 * KiB <= limits.frameBytesMax,
  'the head of every answer fits, escaped or not',
)
assert(limits.webSocketMsMax <= limits.callTimeoutMsMax, 'what bounds a call bounds a WebSocket, too')
assert(
  limits.webSocketIdleMsMax < limits.idleTimeoutMs,
  'the provider ends a silent WebSocket, not the way to it, which would be nobody’s doing',
)
assert(
  limits.voucherSetMax * (limits.voucherTokenBytesMax + 2) <= limits.headerBytesMax - 8 * KiB,
  'a set of vouchers leaves room for other headers',
)
assert(limits.voucherDoubtMs >= 2 * limits.callTimeoutMsMax, 'a call that is in doubt is over by then')
assert(limits.frameBytesMax <= limits.streamWindowBytesMin, 'a frame fits the smallest window')
assert(limits.frameBytesMax < limits.tunnelMessageBytesMax, 'a frame fits a message')
assert(limits.tunnelSliceBytesMax <= limits.frameBytesMax, 'a slice fits a frame')
assert(limits.tunnelWindowBytesMax < limits.tunnelQueuedBytesMax, 'windows that have grown may all stall')
assert(
  limits.announceIntervalMs * 3 <= limits.announcementSilenceMsMax,
  'two words of a provider may be lost before it is gone',
)
assert(limits.specBytesMax * 2 <= limits.sealedSpecBytesMax, 'a sealed spec fits, Base64 and all')
assert(limits.sealedSpecBytesMax < 1 * MiB, 'a spec is one raw block, so its CID is its SHA-256')
assert(
  limits.zipBytesMax + limits.blockBytesMax <= limits.carBytesMax,
  'the CAR of the largest zip can be uploaded',
)
assert(
  limits.egressRequestsInFlightMax <= limits.egressConnectionsMax &&
    limits.egressRequestsInFlightMax <= limits.egressOriginsKeptMax,
  'every request that is under way has a connection',
)
assert(limits.programMemoryMiBDefault <= limits.programMemoryMiBMax, 'the default memory fits')
assert(
  limits.x402SettleWaitMs <= limits.x402SettleMarginSeconds * 1000,
  'a payment is valid for as long as its answer waits for it',
)
assert(
  (limits.callTimeoutMsMax + limits.programStartTimeoutMs) / 1000 +
    limits.x402SettleMarginSeconds +
    limits.x402SlackSeconds <=
    limits.x402WindowSecondsMax,
  'the longest call can be paid by x402',
)
assert(limits.swarmRevealMsMax < limits.ballotGraceMs, 'an answer is held for as long as it is asked for')
assert(limits.x402HeaderBytesMax * 2 <= limits.headerBytesMax, 'a payment leaves room for other headers')
