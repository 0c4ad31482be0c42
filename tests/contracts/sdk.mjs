// One request by a provider's own SDK, for test_contracts.py to hold ours against.
//   node sdk.mjs NAME ADDRESS KEY < its arguments as JSON
// The packages are those of the folder in BIZAPI_SDKCHECK.
import { createRequire } from 'node:module';
import { readFileSync } from 'node:fs';

const require = createRequire(`${process.env.BIZAPI_SDKCHECK}/package.json`);
const [, , name, address, key] = process.argv;
const given = JSON.parse(readFileSync(0, 'utf8'));
const url = new URL(address);

const stripe = () => new (require('stripe'))(key, {
  host: url.hostname, port: Number(url.port), protocol: 'http', maxNetworkRetries: 0,
  telemetry: false, apiVersion: '2023-08-16',
});
const calls = {
  session: () => stripe().checkout.sessions.create(...given),
  retrieve: () => stripe().checkout.sessions.retrieve(...given),
  expire: () => stripe().checkout.sessions.expire(...given),
  refund: () => stripe().refunds.create(...given),
  balance: () => stripe().balance.retrieve(),
  sms: () => {
    const client = require('twilio')(given.account, key, { autoRetry: false });
    client.api.baseUrl = address;
    return client.messages.create(given.message);
  },
  mail: () => {
    const mail = require('@sendgrid/mail');
    mail.setApiKey(key);
    mail.client.setDefaultRequest('baseUrl', address);
    return mail.send(given);
  },
  voice: async () => {
    const { ElevenLabsClient } = require('@elevenlabs/elevenlabs-js');
    const client = new ElevenLabsClient({ apiKey: key, baseUrl: address, maxRetries: 0 });
    const audio = await client.textToSpeech.convert(given.voice, given.request);
    for await (const part of audio) if (!part.length) throw new Error('an empty part');
  },
  geocode: () => {
    const { Client } = require('@googlemaps/google-maps-services-js');
    return new Client({}).geocode({
      params: { ...given, key }, url: `${address}/maps/api/geocode/json`,
    });
  },
};
await calls[name]();
