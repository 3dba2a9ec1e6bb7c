/** The only file that talks to the network. */
import { URLExt } from '@jupyterlab/coreutils';
import { ServerConnection } from '@jupyterlab/services';

const NAMESPACE = 'lepton-bench';

export class RequestError extends Error {
  constructor(
    readonly status: number,
    message: string,
    readonly type = ''
  ) {
    super(message);
  }
}

const REFUSED =
  'The Jupyter server refuses this page. If you were logged out, or its token or password has changed: log in again, then reload the page. Runs and allocations go on.';
const MISSING =
  'The server extension of lepton_bench is not there: install lepton_bench in the environment of the Jupyter server, or run “jupyter server extension enable lepton_bench”, and start the server again.';

/** Ask the server; `path` is below its own address. */
export async function request<T>(path: string, init: RequestInit = {}): Promise<T> {
  const settings = ServerConnection.makeSettings();
  let response: Response;
  try {
    response = await ServerConnection.makeRequest(addressOf(path), init, settings);
  } catch (error) {
    throw new RequestError(0, `The Jupyter server does not answer: ${(error as Error).message}`);
  }
  const text = await response.text();
  let data: unknown = text;
  try {
    data = text ? JSON.parse(text) : null;
  } catch {
    // a proxy's page, not ours
  }
  if (response.ok) return data as T;
  const { message: said, type } = (data ?? {}) as { message?: string; type?: string };
  if (response.status === 401 || response.status === 403)
    throw new RequestError(response.status, `${REFUSED} (${said || response.statusText})`);
  throw new RequestError(
    response.status,
    response.status === 404 && path === 'api/status' ? MISSING : said || `${response.status} ${response.statusText}`,
    type
  );
}

export function send<T>(method: string, path: string, body?: object): Promise<T> {
  return request<T>(path, {
    method,
    ...(body ? { body: JSON.stringify(body), headers: { 'Content-Type': 'application/json' } } : {})
  });
}

export function addressOf(path: string): string {
  return URLExt.join(ServerConnection.makeSettings().baseUrl, NAMESPACE, path);
}

export function openSocket(): WebSocket {
  const { wsUrl, token, appendToken, WebSocket: Socket } = ServerConnection.makeSettings();
  const query = appendToken && token ? `?token=${encodeURIComponent(token)}` : '';
  const socket = new Socket(URLExt.join(wsUrl, NAMESPACE, 'ws') + query);
  socket.binaryType = 'arraybuffer';
  return socket;
}
