// The shapes of the daemon's API that the app reads; see docs/reference/api.md.

export interface ConfigView {
  format?: string
  quantization?: string
  parameters?: string
  architecture?: string
  size?: string
  context_size?: number
  gguf?: Record<string, string>
}

export interface Model {
  id: string
  tags?: string[]
  created: number
  config: ConfigView | null
}

export interface Running {
  backend_name: string
  model_name: string
  mode: string
  last_used: string
  in_use?: boolean
  loading?: boolean
  asleep?: boolean
  keep_alive?: string
  pinned?: boolean
  context_size?: number
  memory?: number
  requests?: number
  waiting?: number
}

export interface DaemonEvent {
  id: number
  at: string
  kind: string
  reason: string
  text: string
  detail: string
  others: string[]
  model: string
  model_id: string
  backend: string
  mode: string
}

export interface LoadedModel {
  model: string
  mode: string
  state: string
  memory: Record<string, number>
  requests: number
  idle: number | null
  pinned: boolean
}

export interface Explanation {
  model: string
  state: string
  need: Record<string, number>
  parts: Record<string, number>
  capacity: Record<string, number>
  free: Record<string, number>
  loaded: LoadedModel[]
  starts: boolean
  stops: string[]
  refusal: { reason: string; message: string; hint: string | null } | null
  sentences: string[]
}

export interface Waiting {
  id: string
  model: string
  position: number
  waited: number
  text: string
}
