// What users of the JavaScript client do: typed objects, patches, watches, informers, errors, generic objects with server-side apply.

import assert from 'node:assert/strict';
import * as k8s from '@kubernetes/client-node';

const config = new k8s.KubeConfig();
config.loadFromDefault();
const core = config.makeApiClient(k8s.CoreV1Api);
const apps = config.makeApiClient(k8s.AppsV1Api);
const namespace = 'javascript';

const version = await config.makeApiClient(k8s.VersionApi).getCode();
assert.match(version.gitVersion, /^v1\./);

await core.createNamespace({ body: { metadata: { name: namespace } } });
const made = await core.createNamespacedConfigMap({ namespace, body: { metadata: { name: 'made', labels: { app: 'x' } }, data: { k: 'v' } } });
assert.equal(made.metadata.managedFields[0].operation, 'Update');
const listed = await core.listNamespacedConfigMap({ namespace, labelSelector: 'app=x' });
assert.deepEqual(listed.items.map((item) => item.metadata.name), ['made']);

await assert.rejects(core.readNamespacedConfigMap({ namespace, name: 'nobody' }), (error) => {
    assert.equal(error.code, 404);
    return true;
});

// An informer sees what is there and what changes.
const seen = new Map();
const informer = k8s.makeInformer(config, `/api/v1/namespaces/${namespace}/configmaps`, () => core.listNamespacedConfigMap({ namespace }));
const happened = (kind, name) => new Promise((resolve, reject) => {
    const late = setTimeout(() => reject(new Error(`no ${kind} of ${name} within 30 s`)), 30_000);
    seen.set(`${kind} ${name}`, () => { clearTimeout(late); resolve(); });
});
for (const kind of ['add', 'update', 'delete']) {
    informer.on(kind, (object) => seen.get(`${kind} ${object.metadata.name}`)?.());
}
informer.on('error', (error) => { throw error; });
const added = happened('add', 'made');
await informer.start();
await added;
const updated = happened('update', 'made');
await core.patchNamespacedConfigMap(
    { namespace, name: 'made', body: [{ op: 'replace', path: '/data/k', value: 'w' }] },
    k8s.setHeaderOptions('Content-Type', k8s.PatchStrategy.JsonPatch),
);
await updated;

await apps.createNamespacedDeployment({ namespace, body: {
    metadata: { name: 'web' },
    spec: { replicas: 2, selector: { matchLabels: { app: 'web' } },
        template: { metadata: { labels: { app: 'web' } }, spec: { containers: [{ name: 'web', image: 'web:1' }] } } },
} });
const scaled = await apps.patchNamespacedDeploymentScale(
    { namespace, name: 'web', body: { spec: { replicas: 3 } } },
    k8s.setHeaderOptions('Content-Type', k8s.PatchStrategy.MergePatch),
);
assert.equal(scaled.spec.replicas, 3);

const objects = k8s.KubernetesObjectApi.makeApiClient(config);
const applied = await objects.patch(
    { apiVersion: 'v1', kind: 'ConfigMap', metadata: { name: 'applied', namespace }, data: { a: '1' } },
    undefined, undefined, 'javascript', true, k8s.PatchStrategy.ServerSideApply,
);
assert.equal(applied.data.a, '1');
assert.equal(applied.metadata.managedFields[0].manager, 'javascript');

const removed = happened('delete', 'made');
await core.deleteNamespacedConfigMap({ namespace, name: 'made' });
await removed;
await informer.stop();
await apps.deleteNamespacedDeployment({ namespace, name: 'web' });
await core.deleteNamespace({ name: namespace });
process.exit(0);
