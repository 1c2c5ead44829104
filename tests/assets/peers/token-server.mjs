// An OAuth 2.0 token server, and whoever asks it about its tokens. It prints its URL. Then it reads lines: `check TOKEN`
// prints what the token is worth as JSON, `revoke TOKEN` takes it back.
import { createServer } from 'node:http';
import { createInterface } from 'node:readline';
import Provider from 'oidc-provider';

const server = createServer();
server.listen(0, '127.0.0.1', async () => {
  const url = `http://127.0.0.1:${server.address().port}`;
  const client = (client_id, token_endpoint_auth_method) => ({
    client_id,
    client_secret: 's3cret-of-a-client',
    token_endpoint_auth_method,
    grant_types: ['client_credentials'],
    response_types: [],
    redirect_uris: [],
    scope: 'events',
  });
  const Token = 'ClientCredentials';
  const provider = new Provider(url, {
    clients: [client('with-basic', 'client_secret_basic'), client('with-body', 'client_secret_post')],
    scopes: ['events'],
    // Without it, a line about it comes among the answers.
    ttl: { ClientCredentials: 600 },
    features: { clientCredentials: { enabled: true }, devInteractions: { enabled: false } },
  });
  server.on('request', provider.callback());
  console.log(url);
  for await (const line of createInterface({ input: process.stdin })) {
    const [command, value] = line.split(' ');
    const token = await provider[Token].find(value);
    if (command === 'revoke') await token?.destroy();
    console.log(JSON.stringify({ active: token !== undefined, client: token?.clientId, scope: token?.scope }));
  }
  process.exit(0);
});
