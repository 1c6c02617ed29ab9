// What the reasons of closes and rejections mean, for the overview. Names as in `gatewayworker status`.

import { language } from './language.js';

const CLOSES = {
  client_left: ['the client closed, or its connection broke', '客户端关闭，或者连接断开'],
  timed_out: ['silent for too long', '静默太久'],
  kicked: ['an application or an operator closed it', '被应用或运维人员关闭'],
  refused: ['the application refused it', '应用拒绝准入'],
  not_admitted: ['no worker admitted or refused it in time', '没有 worker 按时作出准入的答复'],
  destroyed: ['an application destroyed it', '被应用强制断开'],
  slow_consumer: ['did not read what it was sent', '不读取发给它的内容'],
  shutdown: ['its gateway stopped', '所在的 gateway 停止了'],
  protocol_error: ['broke its protocol', '违反了协议'],
  too_large: ['sent a message over the limit', '发送的消息超过限制'],
  rate_limited: ['sent faster than it may', '发送过快'],
  gateway_lost: ['its gateway was lost', '所在的 gateway 失联'],
  undeliverable: ['its event ended one worker after another', '它的事件使 worker 接连终止'],
  isolated: ['its gateway had neither register nor worker', '所在的 gateway 既没有 register 也没有 worker'],
};

const REJECTIONS = {
  full: ['max_connections is reached', '已达到 max_connections'],
  listener_full: ["the listener's max_connections is reached", '监听器已达到 max_connections'],
  address_full: ['too many connections from its address', '来自同一地址的连接过多'],
  address_rate: ['its address connects too often', '同一地址连接过于频繁'],
  proxy_header: ['no valid PROXY header', '没有有效的 PROXY 头部'],
  tls: ['the TLS handshake failed', 'TLS 握手失败'],
  too_slow: ['its handshake took too long', '握手太慢'],
  too_long: ['its request is too long', '请求太长'],
  no_handshake: ['no WebSocket handshake', '不是 WebSocket 握手'],
  origin: ['its origin is not allowed', '来源不被允许'],
  path: ['its path is not allowed', '路径不被允许'],
  no_worker: ['no worker took it in time', '没有 worker 及时接受它'],
  left: ['it left before the handshake was done', '握手完成之前就离开了'],
};

/** What a reason means, in the page's language; nothing for one of a later version. */
export function meaning(kind, reason) {
  const words = (kind === 'closed' ? CLOSES : REJECTIONS)[reason.replaceAll('-', '_')];
  return words ? words[language() === 'zh' ? 1 : 0] : '';
}
