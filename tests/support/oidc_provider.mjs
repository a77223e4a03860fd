// A certified OpenID provider (npm oidc-provider) on a free port of loopback, with people, clients and lives as told.
//
//     node oidc_provider.mjs TOOLS_FOLDER   with the settings as one line of JSON on stdin
//
// It says its address in one line of JSON, and ends with its stdin.

import { createHash, generateKeyPairSync, randomBytes, timingSafeEqual } from 'node:crypto';
import { once } from 'node:events';
import http from 'node:http';
import { createRequire } from 'node:module';
import readline from 'node:readline';

const require = createRequire(`${process.argv[2]}/`);
const { default: Provider } = require('oidc-provider');

const lines = readline.createInterface({ input: process.stdin });
const [line] = await once(lines, 'line');
lines.on('close', () => process.exit(0));

const server = http.createServer();
server.listen(0, '127.0.0.1');
await once(server, 'listening');
const host = `127.0.0.1:${server.address().port}`;
const issuer = `http://${host}`;
const settings = JSON.parse(line.replaceAll('/ISSUER', `/${host}`));

const { privateKey } = generateKeyPairSync('rsa', { modulusLength: 2048 });
const signingKey = { ...privateKey.export({ format: 'jwk' }), kid: 'key-1', use: 'sig', alg: 'RS256' };

const find = (accountId) => settings.people.find((person) => person.sub === accountId);

const provider = new Provider(issuer, {
  clients: settings.clients,
  jwks: { keys: [signingKey] },
  cookies: { keys: [randomBytes(16).toString('hex')] },
  claims: { openid: ['sub'], profile: ['name', 'groups'] },
  conformIdTokenClaims: false,
  findAccount: (_, accountId) => {
    const person = find(accountId);
    return person && { accountId, claims: () => ({ sub: accountId, name: person.name, groups: person.groups }) };
  },
  extraTokenClaims: (_, token) => {
    const person = token.accountId && find(token.accountId);
    return person ? { username: person.name, 'cognito:groups': person.groups } : {};
  },
  features: {
    devInteractions: { enabled: false },
    deviceFlow: { enabled: true },
    clientCredentials: { enabled: true },
    revocation: { enabled: true },
    resourceIndicators: {
      enabled: true,
      defaultResource: () => settings.audience,
      useGrantedResource: () => true,
      getResourceServerInfo: () => ({
        scope: settings.scopes.join(' '),
        audience: settings.audience,
        accessTokenFormat: 'jwt',
        accessTokenTTL: settings.accessTokenSeconds,
        jwt: { sign: { alg: 'RS256' } },
      }),
    },
  },
  interactions: { url: (_, interaction) => `/interaction/${interaction.uid}` },
  issueRefreshToken: (_, client) => client.grantTypeAllowed('refresh_token'),
  rotateRefreshToken: () => true,
  ttl: {
    AccessToken: settings.accessTokenSeconds,
    ClientCredentials: settings.accessTokenSeconds,
    RefreshToken: 86400,
    IdToken: 300,
    Interaction: 600,
    Session: 3600,
    Grant: 86400,
    DeviceCode: 600,
  },
});

// What the tests ask about afterwards: each grant of tokens, with what it was given for.
let granted = [];
provider.on('grant.success', (ctx) => granted.push(ctx.oidc.params.grant_type));
provider.on('grant.revoked', () => granted.push('revoked'));
provider.on('server_error', (_, error) => process.stderr.write(`${error.stack}\n`));

const page = (title, body) => `<!doctype html><html lang="en"><head><meta charset="utf-8"><title>${title}</title>
<style>body{font:16px system-ui,sans-serif;max-width:20rem;margin:4rem auto}label{display:block;margin:1rem 0}
input{display:block;width:100%;padding:.4rem;box-sizing:border-box}button{padding:.5rem 1.5rem}</style></head>
<body><h1>${title}</h1>${body}</body></html>`;

const loginPage = (uid, problem) =>
  page(
    'Sign in to the studio',
    `${problem ? `<p role="alert">${problem}</p>` : ''}<form method="post" action="/interaction/${uid}">
<label>Name <input name="login" autocomplete="username" required></label>
<label>Password <input name="password" type="password" autocomplete="current-password" required></label>
<button type="submit">Sign in</button></form>`,
  );

async function readForm(request) {
  let body = '';
  for await (const block of request) body += block;
  return new URLSearchParams(body);
}

const digest = (text) => createHash('sha256').update(text ?? '').digest();

async function interact(request, response) {
  const { uid, prompt, params, session, grantId } = await provider.interactionDetails(request, response);
  if (prompt.name === 'consent') {
    const grant = grantId
      ? await provider.Grant.find(grantId)
      : new provider.Grant({ accountId: session.accountId, clientId: params.client_id });
    const { missingOIDCScope, missingOIDCClaims, missingResourceScopes } = prompt.details;
    if (missingOIDCScope) grant.addOIDCScope(missingOIDCScope.join(' '));
    if (missingOIDCClaims) grant.addOIDCClaims(missingOIDCClaims);
    for (const [resource, scopes] of Object.entries(missingResourceScopes ?? {})) {
      grant.addResourceScope(resource, scopes.join(' '));
    }
    const result = { consent: { grantId: await grant.save() } };
    return provider.interactionFinished(request, response, result, { mergeWithLastSubmission: true });
  }
  if (request.method === 'POST') {
    const form = await readForm(request);
    const person = settings.people.find((each) => each.login === form.get('login'));
    if (person && timingSafeEqual(digest(person.password), digest(form.get('password')))) {
      return provider.interactionFinished(request, response, { login: { accountId: person.sub } });
    }
  }
  response.writeHead(200, { 'content-type': 'text/html; charset=utf-8' });
  response.end(loginPage(uid, request.method === 'POST' ? 'Name or password is wrong.' : ''));
}

const callback = provider.callback();
server.on('request', async (request, response) => {
  try {
    if (request.url === '/granted') {
      response.end(JSON.stringify(granted));
    } else if (request.url.startsWith('/interaction/')) {
      await interact(request, response);
    } else {
      await callback(request, response);
    }
  } catch (error) {
    process.stderr.write(`${error.stack}\n`);
    response.writeHead(500).end();
  }
});

process.stdout.write(`${JSON.stringify({ issuer })}\n`);
