// What became of a command, in words.
import { useTranslations } from "use-intl";
import type { Schemas } from "../api/client";
import { Status } from "../kit/status";

export function CommandState({ state }: { state: Schemas["State"] | null }) {
  const t = useTranslations("action.states");
  if (!state) return <Status tone="neutral">{t("waiting")}</Status>;
  switch (state.state) {
    case "accepted":
      return <Status tone="neutral">{t("accepted")}</Status>;
    case "running":
      return <Status tone="neutral">{t("running", { percent: state.percent })}</Status>;
    case "succeeded":
      return <Status tone="good">{t("succeeded")}</Status>;
    case "failed":
      return (
        <Status tone="bad">
          {t("failed")}: {state.failure.message}
        </Status>
      );
    case "rejected":
      return (
        <Status tone="bad">
          {t("rejected")}: {state.note ?? state.reason.replaceAll("_", " ")}
        </Status>
      );
  }
}
