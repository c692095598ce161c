//! The names of what spans tell: those of OpenTelemetry's semantic conventions (`GenAI` 1.41, HTTP), and ours where they
//! have none.

pub(crate) const AGENT_ID: &str = "gen_ai.agent.id";
pub(crate) const AGENT_VERSION: &str = "gen_ai.agent.version";
pub(crate) const CONVERSATION: &str = "gen_ai.conversation.id";
pub(crate) const OPERATION: &str = "gen_ai.operation.name";
pub(crate) const PROVIDER: &str = "gen_ai.provider.name";
pub(crate) const REQUEST_MODEL: &str = "gen_ai.request.model";
pub(crate) const REQUEST_STREAM: &str = "gen_ai.request.stream";
pub(crate) const RESPONSE_MODEL: &str = "gen_ai.response.model";
/// In seconds.
pub(crate) const TIME_TO_FIRST_CHUNK: &str = "gen_ai.response.time_to_first_chunk";
pub(crate) const TOOL_CALL: &str = "gen_ai.tool.call.id";
pub(crate) const TOOL_NAME: &str = "gen_ai.tool.name";
/// What was read from the cache and written to it is part of it.
pub(crate) const INPUT_TOKENS: &str = "gen_ai.usage.input_tokens";
pub(crate) const OUTPUT_TOKENS: &str = "gen_ai.usage.output_tokens";
pub(crate) const CACHE_READ_TOKENS: &str = "gen_ai.usage.cache_read.input_tokens";
pub(crate) const CACHE_CREATION_TOKENS: &str = "gen_ai.usage.cache_creation.input_tokens";

pub(crate) const ERROR: &str = "error.type";
pub(crate) const METHOD: &str = "http.request.method";
pub(crate) const RESEND_COUNT: &str = "http.request.resend_count";
pub(crate) const ROUTE: &str = "http.route";
pub(crate) const SERVER: &str = "server.address";
pub(crate) const SERVER_PORT: &str = "server.port";
pub(crate) const STATUS: &str = "http.response.status_code";

pub(crate) const REQUEST: &str = "hostler.request.id";
pub(crate) const SANDBOX: &str = "hostler.sandbox.id";
/// `created` or `found`.
pub(crate) const SANDBOX_START: &str = "hostler.sandbox.start";
pub(crate) const SESSION: &str = "hostler.session.id";
/// How a model call ended, in the ledger's words.
pub(crate) const ENDED: &str = "hostler.model_call.ended";
pub(crate) const STOP_REASON: &str = "hostler.stop_reason";
/// `allow` or `ask`.
pub(crate) const PERMISSION: &str = "hostler.tool.permission";
/// `built_in` or `custom`.
pub(crate) const TOOL_KIND: &str = "hostler.tool.kind";
/// What a call waits for: `confirmation` or `result`.
pub(crate) const WAITS_FOR: &str = "hostler.approval.waits_for";
/// `allow`, `deny` or `result`.
pub(crate) const DECISION: &str = "hostler.approval.decision";
/// The event of the message that began the turn.
pub(crate) const TURN: &str = "hostler.turn.id";
/// The turn began in a server before this one.
pub(crate) const RESUMED: &str = "hostler.turn.resumed";
/// The server let go of the turn, which goes on in the next one.
pub(crate) const LEFT: &str = "hostler.turn.left";
pub(crate) const WORKSPACE: &str = "hostler.workspace.id";
