// What clients do in channels, and what they know of who is there.
import { record } from './wait.mjs';

/** Subscribes and records the states that the channel sends. */
export const follow = async (client, channel) => {
  const subscription = client.newSubscription(channel);
  subscription.states = record(subscription, 'publication', ({ data }) => client.unpack(data));
  subscription.subscribe();
  await subscription.ready();
  await subscription.states.take(1);
  return subscription;
};

/** Subscribes. */
export const enter = async (client, channel, options) => {
  const subscription = client.newSubscription(channel, options);
  subscription.subscribe();
  await subscription.ready();
  return subscription;
};

/** The roster that a reader of these states knows. */
export const roster = (states) => {
  const members = new Map();
  for (const { snapshot, join = [], update = [], leave = [] } of states) {
    if (snapshot) members.clear();
    for (const member of [...(snapshot ?? []), ...join, ...update]) members.set(member.user || member.client, member);
    for (const member of leave) members.delete(member.user || member.client);
  }
  return members;
};
