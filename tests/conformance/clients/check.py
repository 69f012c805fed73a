"""What users of the Python client do: discovery, typed objects, patches, watches, errors, the dynamic client with server-side apply."""

import time

from kubernetes import client, config, dynamic, utils, watch
from kubernetes.client.rest import ApiException

config.load_kube_config()
core, apps, batch = client.CoreV1Api(), client.AppsV1Api(), client.BatchV1Api()

assert client.VersionApi().get_code().git_version.startswith("v1.")
assert any(group.name == "apps" for group in client.ApisApi().get_api_versions().groups)
assert any(resource.name == "pods/eviction" for resource in core.get_api_resources().resources)

core.create_namespace(client.V1Namespace(metadata=client.V1ObjectMeta(name="python")))
assert core.read_namespace("python").status.phase == "Active"

made = core.create_namespaced_config_map("python", client.V1ConfigMap(
    metadata=client.V1ObjectMeta(generate_name="made-", labels={"app": "x"}), data={"k": "v"}))
name = made.metadata.name
assert name.startswith("made-") and made.metadata.managed_fields[0].operation == "Update"
listed = core.list_namespaced_config_map("python", label_selector="app=x", limit=1)
assert [item.metadata.name for item in listed.items] == [name]

# A watch from the list on sees what comes after it.
stream = watch.Watch()
core.patch_namespaced_config_map(name, "python", {"data": {"k": "w"}})
for event in stream.stream(core.list_namespaced_config_map, "python", resource_version=listed.metadata.resource_version, timeout_seconds=30):
    assert event["type"] == "MODIFIED" and event["object"].data == {"k": "w"}, event
    stream.stop()

try:
    core.read_namespaced_config_map("nobody", "python")
    raise AssertionError("it is there")
except ApiException as error:
    assert error.status == 404 and '"reason":"NotFound"' in error.body.replace(" ", ""), error.body

# Every list of typed objects must have what the client's models require.
for call in [core.list_node, core.list_persistent_volume, core.list_pod_for_all_namespaces, core.list_service_for_all_namespaces,
             apps.list_deployment_for_all_namespaces, batch.list_job_for_all_namespaces]:
    try:
        assert call().items is not None
    except ApiException as error:
        assert error.status == 404, error

web = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web", "namespace": "python"},
       "spec": {"replicas": 2, "selector": {"matchLabels": {"app": "web"}},
                "template": {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "web", "image": "web:1"}]}}}}
utils.create_from_dict(client.ApiClient(), web)
apps.patch_namespaced_deployment_scale("web", "python", {"spec": {"replicas": 3}})
assert apps.read_namespaced_deployment_scale("web", "python").spec.replicas == 3
deadline = time.monotonic() + 30
while apps.read_namespaced_deployment("web", "python").status.observed_generation is None:
    assert time.monotonic() < deadline, "the controller has not seen the deployment"

dynamic_client = dynamic.DynamicClient(client.ApiClient())
maps = dynamic_client.resources.get(api_version="v1", kind="ConfigMap")
applied = maps.server_side_apply(namespace="python", name="applied", field_manager="python",
                                 body={"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "applied"}, "data": {"a": "1"}})
assert applied.data.a == "1"
assert applied.metadata.managedFields[0].manager == "python"

review = client.V1SelfSubjectAccessReview(spec=client.V1SelfSubjectAccessReviewSpec(
    resource_attributes=client.V1ResourceAttributes(verb="delete", resource="nodes")))
assert client.AuthorizationV1Api().create_self_subject_access_review(review).status.allowed

core.create_namespaced_service_account("python", client.V1ServiceAccount(metadata=client.V1ObjectMeta(name="robot")))
token = core.create_namespaced_service_account_token("robot", "python", client.AuthenticationV1TokenRequest(
    spec=client.V1TokenRequestSpec(audiences=[])))
assert token.status.token.count(".") == 2

apps.delete_namespaced_deployment("web", "python", propagation_policy="Background")
core.delete_namespaced_config_map(name, "python")
core.delete_namespace("python")
